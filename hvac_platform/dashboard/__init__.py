"""The dashboard: what the platform knows of each device, in a browser; operators act on incidents here."""
