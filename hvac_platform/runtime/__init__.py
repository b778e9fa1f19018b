"""The platform as processes: what starts, watches, guards and ends them, and what they connect to."""
