"""Device types (points, units, ranges, rules) as YAML, their registry, and fleets."""
