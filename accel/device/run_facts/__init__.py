"""Facts about a run that its directory keeps: its machine, and its times."""

__all__: list[str] = []
