"""Ready-made tasks: each a `Trainer` with a model, real data and a loss, and no different from a user's own task."""

__all__ = []
