"""Optimisers and schedulers of torch and of other packages: found by their dotted names, tried, and driven."""

__all__ = []
