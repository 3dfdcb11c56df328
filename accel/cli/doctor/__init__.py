"""The command `doctor`: why a run is slow, and what to type next."""

__all__: list[str] = []
