"""Checks of a run: before anything is made, when its data is open, when it is resumed, and in its first update."""

__all__: list[str] = []
