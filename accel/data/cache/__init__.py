"""Caches, in memory or on disk, of records and tensors that were read once."""

__all__ = []
