"""What proves what was done: the ledger and its sealing.

Three words to know: a *record* is canonical bytes, the *chain* hashes what is stored, and a
*sealer* decides how records lie at rest.
"""
