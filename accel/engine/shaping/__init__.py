"""The shape of the model that a run trains: at its start, between two updates, and as it is shipped."""

__all__: list[str] = []
