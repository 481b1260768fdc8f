"""Thin shared clients: framed local sockets, the egress gate.

Three words to know: a *frame* is a u32 big-endian length and at most 1 MiB of canonical bytes,
a *frame socket* carries frames between two processes of one node, and the *egress gate* is the
one place that outward calls pass.
"""
