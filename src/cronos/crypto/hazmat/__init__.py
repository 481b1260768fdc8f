"""Danger: what is here is sound alone and easily fatal in use; read the warning of each file.

A nonce used twice gives away the plain text and the key of every tag; a raw shared secret that is
used as a key binds nothing; a message representative signs what nobody has seen. Take suites,
records and signatures from the rooms above instead, unless you are writing one of them.

Three words to know: *encapsulate* draws a secret for a key's holder, *implicit rejection* gives a
wrong secret instead of an error, and a *message representative* is what ML-DSA signs.
"""
