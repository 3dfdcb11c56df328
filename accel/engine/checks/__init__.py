"""Checks of a run whose data is open: batches of one sample, and the length of the data."""

__all__: list[str] = []
