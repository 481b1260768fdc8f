"""Root keys: what locks a keystore's master key, each a plug-in of the port `RootKey`.

Three words to know: a *root* wraps one secret of a keystore, its *protection* is what a thief
would need besides the keystore, and a *context* keeps a wrapped secret from serving elsewhere.
"""
