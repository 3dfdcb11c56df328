"""Models of the ready-made tasks, each in plain torch."""

__all__ = []
