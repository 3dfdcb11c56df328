"""torch on a CPU: its threads, how they round, and how many there are."""

__all__: list[str] = []
