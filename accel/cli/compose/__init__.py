"""From overrides to a checked configuration."""

__all__ = []
