"""Stores: a whole data set in one file."""

__all__ = []
