"""Layers of 8 bits: fake quantisation while a model trains, integers as it is shipped, and the same as torchao's PT2E graph."""

__all__: list[str] = []
