"""Trackers: watches that hand the curves of a run to a tool, in blocks, and withdraw what a resumed run makes again."""

__all__ = []
