"""An optimiser that takes longer on the first rank than on others, as that of TraceML's demonstration of a slow rank does."""

from __future__ import annotations

import os
from typing import Any

import torch

ROWS, PRODUCTS = 1024, 8
"""Of the matrices that are multiplied in each step beside it: TraceML's have 2048, for a GPU."""


class SlowAdamW(torch.optim.AdamW):
    """AdamW, and products of matrices on the first rank."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, lr=lr)
        self.matrices = torch.full((2, ROWS, ROWS), 1 / ROWS)

    def step(self, closure: Any = None) -> Any:
        value = super().step(closure)
        if os.environ.get("RANK", "0") == "0":
            for _ in range(PRODUCTS):
                self.matrices[0] @ self.matrices[1]
        return value
