"""What was read once is kept."""

__all__ = []
