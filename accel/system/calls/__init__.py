"""Calls of what users call: which arguments they take."""

__all__: list[str] = []
