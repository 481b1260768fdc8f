"""Sensors: the bytes of one source in, observations out.

Three words to know: a *source* gives bytes (file, socket, interface), a *sensor* parses them,
and an *observation* is one event with its provenance. What cannot be read becomes a *defect*.
"""
