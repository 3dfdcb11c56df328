"""Commands about a run that is there: its evaluation, and predictions by its model."""

__all__: list[str] = []
