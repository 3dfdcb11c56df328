"""One run, from what was given to what it came to."""

__all__ = []
