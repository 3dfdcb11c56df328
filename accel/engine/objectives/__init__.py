"""Several objectives in one run: losses that are minimised over parameters of their own, each by an optimiser of its own."""

__all__: list[str] = []
