"""The command that exports the model of a run, and proves the export."""

__all__: list[str] = []
