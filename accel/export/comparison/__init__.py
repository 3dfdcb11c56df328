"""Two models on the same held-out data: a run and its export, say, or two exports."""

__all__: list[str] = []
