"""The ``hvac`` command line."""
