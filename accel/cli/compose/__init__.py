"""Configuration: overrides are put in order, composed by Hydra, and checked before torch is imported."""

__all__ = []
