"""Questions that a run answers by being tried out: it is afterwards what it was."""

__all__: list[str] = []
