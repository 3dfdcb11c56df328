"""Beside the evaluation: its trial before the first update, and the best weights by it."""

__all__: list[str] = []
