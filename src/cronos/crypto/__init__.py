"""Suites, envelopes and keys; nothing else in Cronos touches a primitive."""
