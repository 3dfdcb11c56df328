"""Questions that are asked of a run by measuring it: why it is slow, and what to type next. They undo themselves."""

__all__: list[str] = []
