"""Jobs of a multirun at the same time on this machine, each in a process of its own: Hydra's launcher joblib."""

__all__ = []
