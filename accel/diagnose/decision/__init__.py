"""From measured figures to a verdict and remedies: pure functions, which measure and ask nothing."""

__all__: list[str] = []
