"""What can be set, and by what kind of value, read from source text without importing torch."""

__all__ = []
