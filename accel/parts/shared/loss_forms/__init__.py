"""Forms in which a loss is returned beside a plain scalar: the output of a model that computes it, and a dict of losses by name."""

__all__ = []
