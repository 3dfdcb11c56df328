"""Data sets: samples by index."""

__all__ = []
