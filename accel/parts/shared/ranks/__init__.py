"""Ranks of one run: that they meet, are the same run, hear of each other's errors, and end in order."""

__all__ = []
