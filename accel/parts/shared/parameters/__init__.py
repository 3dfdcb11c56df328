"""Parameters of a model that a part adds, or treats by what they are used for."""

__all__: list[str] = []
