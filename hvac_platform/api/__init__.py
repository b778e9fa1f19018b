"""What programs read over HTTP: devices, readings, states, verdicts, incidents, as JSON under ``/api/v1``."""
