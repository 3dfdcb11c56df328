"""What a run begins with beside fresh weights: those of a file or a run, and parameters that are frozen."""

__all__: list[str] = []
