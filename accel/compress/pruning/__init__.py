"""Pruning: which channels or weights a model can do without, when they go, and what must follow them."""

__all__: list[str] = []
