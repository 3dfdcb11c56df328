"""This machine: files, clock, faults, signals, processes. It needs no torch (`rendezvous` alone uses torch's store)."""

__all__ = []
