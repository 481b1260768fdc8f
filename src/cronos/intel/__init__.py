"""The deliberate lane: analysts that explain incidents to people and can only advise."""
