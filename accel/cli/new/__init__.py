"""The command that makes a project: a task, its configs and a test, in the folders that Hydra's users know."""

__all__ = []
