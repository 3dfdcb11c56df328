"""Remedies tried out on the run itself: searched, timed beside the run without them, kept or left out."""

__all__: list[str] = []
