"""Detectors: what can be *verified* of a set of messages, each with a bound on its false alarms.

Three words to know: a `Table` holds messages as columns, a family (`lengths`, `checksums`, …) looks
through it, and a `Claim` says what holds, where, and how likely it is by chance. Nothing is claimed
that chance explains: the bound counts everything that was tried.
"""
