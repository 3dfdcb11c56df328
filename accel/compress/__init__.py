"""What makes a model smaller while it trains."""

__all__: list[str] = []
