"""Many-port systems: clouds and clusters."""
