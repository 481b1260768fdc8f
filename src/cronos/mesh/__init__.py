"""Transports of bulletins between the nodes of a federation."""
