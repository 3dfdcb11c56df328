"""CUDA's runtime: the current device of each thread, registered memory, what a card can."""

__all__ = []
