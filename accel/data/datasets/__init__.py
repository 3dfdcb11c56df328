"""Data sets: samples by index."""
