"""Data sets: samples by index, from pictures, records of any kind, and text."""

__all__ = []
