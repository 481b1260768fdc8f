"""Executors, and the enforcer that alone may use them.

Three words to know: a *plan* is an action with the recipe that undoes it, a *lease* is the time
it may last, and the *enforcer* is the small process that holds both, durably, and undoes what
has expired though everything else is dead.
"""
