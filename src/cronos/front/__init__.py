"""The faces of Cronos: they translate, they never decide."""
