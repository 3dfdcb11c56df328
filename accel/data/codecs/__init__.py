"""From encoded bytes to pixels."""

__all__ = []
