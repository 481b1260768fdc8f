"""What several rooms share of the outside: framed local sockets, the egress gate, captures.

Four words to know: a *frame* is a u32 big-endian length and at most 1 MiB of canonical bytes,
a *frame socket* carries frames between two processes of one node, the *egress gate* is the
one place that outward calls pass, and a *capture* is a file of packets (pcap, pcapng).
"""
