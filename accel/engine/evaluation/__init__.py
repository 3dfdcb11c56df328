"""Beside the evaluation: its trial before the first update, BatchNorm for averaged weights, and the best weights by it."""

__all__: list[str] = []
