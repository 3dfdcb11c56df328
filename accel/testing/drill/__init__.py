"""Drills: what a run is struck by, and whether it ends as if nothing had been."""

__all__ = []
