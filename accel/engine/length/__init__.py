"""Length of a run: how many updates it makes, and when it ends."""

__all__: list[str] = []
