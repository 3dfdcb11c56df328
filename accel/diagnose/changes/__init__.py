"""What can be changed in a run: what is possible and not on already, how it is typed, and what of it cannot be measured."""

__all__: list[str] = []
