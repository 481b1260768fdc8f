"""The public-key infrastructure of one trust domain: who is who, and what each may do.

Three words to know: a *trust* is the pair of root certificates that a node pins by one
fingerprint, an *identity* is what a verified chain says of a peer (its SPIFFE name and its
certified roles), and a *credential* is the pair of keys with which a process proves its own.
Every certificate comes twice, once on P-384 for gRPC and Envoy and once on ML-DSA-87 for our own
links; the two chains stand side by side under the same names.
"""
