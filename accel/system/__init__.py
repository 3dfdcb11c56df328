"""This machine: files, clock, signals, processes. Nothing here imports torch."""

__all__ = []
