"""Exports of 8 bits and of 16-bit floats: calibration, the sensitivity of layers, and layers that stay in floats."""

__all__: list[str] = []
