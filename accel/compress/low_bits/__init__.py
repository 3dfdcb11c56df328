"""Layers with weights, inputs and gradients of few bits: the schemes as pure functions, layers that use them, and packed bits."""

__all__: list[str] = []
