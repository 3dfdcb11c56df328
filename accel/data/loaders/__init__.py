"""Who reads: threads, processes, DALI, the memory of the device."""

__all__ = []
