"""The dashboard: what the platform knows of each device, in a browser. It reads store and log, and writes nothing."""
