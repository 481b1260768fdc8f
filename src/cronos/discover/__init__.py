"""Protocol discovery: learns undocumented protocols from their traffic.

Three words: a *message* is one unit of a protocol as it was sent; a *claim* is what a verified
detector says of many of them at once; a *grammar* is what a parser is made of.
"""
