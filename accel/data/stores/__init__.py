"""Packed stores: a whole data set in one file, LMDB or raw, and how such files are made."""

__all__ = []
