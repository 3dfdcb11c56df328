"""The command line: from what was typed to a run that is checked. Nothing here imports torch before everything is."""

__all__ = []
