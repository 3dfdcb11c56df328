"""A pass through a model, operator by operator and layer by layer: work, memory moved, time."""

__all__: list[str] = []
