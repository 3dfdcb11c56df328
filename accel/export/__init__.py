"""Export of a trained model to the files of other engines, and the proof that they compute what was trained."""

__all__: list[str] = []
