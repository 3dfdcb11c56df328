"""The proof of an export: its outputs, metrics and speed beside those of the torch model, on held-out data."""

__all__: list[str] = []
