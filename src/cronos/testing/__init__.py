"""For those who write plug-ins: in-memory ports, recorders and one conformance suite per port.

Three words to know: a *memory* port is a whole inhabitant of its port that touches nothing, a
*recorder* lets everything through and remembers it, and a *double* keeps a contract without
giving its protection. `cronos.testing.conformance` says what every inhabitant of a port must do.
"""
