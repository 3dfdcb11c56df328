"""The command `advise`: a model's layers against the roofs of this machine."""

__all__: list[str] = []
