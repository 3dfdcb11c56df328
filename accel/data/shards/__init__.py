"""Shards: a data set in several files that other tools write."""

__all__ = []
