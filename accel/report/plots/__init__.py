"""Pictures beside the curves of a run: of exports, and of a range of learning rates."""

__all__: list[str] = []
