"""Run directories as others read them: their files, as far as they are there, and which of several runs is ahead."""

__all__: list[str] = []
