"""Loaders, which read batches ahead: threads, processes, DALI, and the memory of the device."""

__all__ = []
