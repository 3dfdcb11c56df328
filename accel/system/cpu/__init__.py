"""Use of this machine's processor and memory by one process: its allocator, its threads, its cores."""

__all__: list[str] = []
