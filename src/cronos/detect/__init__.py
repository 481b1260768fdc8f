"""Detectors: observations in, findings out.

Three words to know: a *finding* is a claim with a confidence, its *evidence class* says whether
a stated rule was broken or something is merely unusual, and *techniques* are ATT&CK ids.
"""
