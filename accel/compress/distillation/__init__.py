"""Distillation: a student that learns from what a trained teacher sees in each sample."""

__all__: list[str] = []
