"""Advice at the end of a run: what to type next time."""

__all__: list[str] = []
