"""What several plugins of one part have in common."""

__all__ = []
