"""Physics of the five device types, the weather that drives them, and labelled faults."""
