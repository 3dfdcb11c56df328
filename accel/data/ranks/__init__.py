"""Ranks that read one data set: the part of each, and the same order for all."""

__all__: list[str] = []
