"""Checks of a run: before anything is made, and when its data is open."""

__all__: list[str] = []
