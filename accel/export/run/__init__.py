"""The export of a run: from its directory or its trainer to outcomes, one for each target."""

__all__: list[str] = []
