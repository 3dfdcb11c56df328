"""Which sizes of its inputs an exported file leaves open."""

from __future__ import annotations

from typing import Literal

__all__ = ["Dynamic"]

Dynamic = Literal["batch", "length", "none"]
"""`batch`: any number of samples; `length`: any second dimension too, that of a text; `none`: one sample, as in the example."""
