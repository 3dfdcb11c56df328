"""The settings of plugins, tasks and runs, with their kinds of value, read from source text without importing torch."""

__all__ = []
