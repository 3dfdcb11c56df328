"""One update of a run made again, beside it: from the same state, on the same batches, with the plainest parts."""

__all__: list[str] = []
