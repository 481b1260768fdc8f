"""What stands between a client and the system it talks to.

Three words to know: the *tap* forwards bytes and copies what it sees, its *feed* is read by a
sensor, and a *block* cuts a flow until its lease ends.
"""
