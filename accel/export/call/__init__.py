"""What a model is given in a call and what it returns: the tensors of both, and all that stands around them, as JSON holds it."""

__all__: list[str] = []
