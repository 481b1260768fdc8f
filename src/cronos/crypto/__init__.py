"""Suites, envelopes and keys; nothing else in Cronos touches a primitive.

Three words to know: a *suite* names every algorithm of a message and is never negotiated inside
one, an *epoch* is one data key, announced once in a signed packet and counted by one writer, and a
*record* is what such a key seals: 30 bytes longer than what it holds.
"""
