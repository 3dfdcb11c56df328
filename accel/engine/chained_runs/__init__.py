"""Runs one after another, of which each needs the one before."""

__all__: list[str] = []
