"""Drawing only: the plan, the progress line, the summary and the curves of a run. Numbers come from other folders."""

__all__ = []
