"""The subcommand `pack`: its arguments, the stores that it makes, and its tables."""

__all__ = []
