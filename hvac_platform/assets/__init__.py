"""Software-defined assets, one module each."""
