"""Accelerators beside CUDA, Apple's `mps` and Intel's `xpu`: their runtime, and the numbers that they hold."""

__all__ = []
