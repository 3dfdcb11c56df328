"""Values of the user's own objects: which a checkpoint can keep, in which form, and how they are put back."""

__all__: list[str] = []
