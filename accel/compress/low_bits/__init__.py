"""Layers with weights, inputs and gradients of few bits: each scheme as pure functions, the layers that use them, and packed bits."""

__all__: list[str] = []
