"""What a change of a model brings, tried out: products as they would be, and the model in another order in memory."""

__all__: list[str] = []
