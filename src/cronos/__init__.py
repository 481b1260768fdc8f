"""Cronos: federated cyber defence that isolates in milliseconds and proves what it did.

The folders are the path of an incident: sense, detect, kernel, respond, mesh, govern. Begin
with `cronos.types` (the vocabulary), then `cronos.kernel.incident` (the one state machine).
"""

__version__ = "0.1.0"
