"""A run that is there, loaded again: its task, its model, its evaluation, its predictions."""

__all__: list[str] = []
