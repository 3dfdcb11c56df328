"""The most that this machine computes and moves, measured, and what that leaves a layer at best."""

__all__: list[str] = []
