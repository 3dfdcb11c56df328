"""The command that measures what each plugin of a run brings."""

__all__: list[str] = []
