"""How a run is shown to people. Everything here is a leaf: it draws what it is given and knows nothing of the loop."""

__all__ = []
