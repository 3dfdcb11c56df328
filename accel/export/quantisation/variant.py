"""The numbers that an exported file computes with, in one word: `float32`, `float16`, `static` ..."""

from __future__ import annotations

from typing import Literal

__all__ = ["EIGHT_BITS", "Precision", "Quantize", "Variant", "setting_of", "variant_of"]

Precision = Literal["float32", "bfloat16", "float16"]
"""Floats of the weights. Whether an engine computes with them too is its own affair."""
Quantize = Literal["none", "dynamic", "static", "weights"]
"""What is an integer of 8 bits: with `weights` the weights alone; with `static` the inputs of layers too, by ranges that are known
beforehand; with `dynamic` by those of each call."""
Variant = Literal["float32", "bfloat16", "float16", "dynamic", "static", "weights"]
"""A precision, or what is quantised; a file has one of them."""
EIGHT_BITS: tuple[Variant, ...] = ("dynamic", "static", "weights")


def variant_of(precision: Precision | None, quantize: Quantize | None) -> Variant:
    """Return the variant that settings name; None stands for a default."""
    return (precision or "float32") if quantize is None or quantize == "none" else quantize


def setting_of(variant: str) -> str:
    """Return the setting that asks for a variant: `quantize=static`, `precision=float16`."""
    return f"{'quantize' if variant in EIGHT_BITS else 'precision'}={variant}"
