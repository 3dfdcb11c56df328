"""An example as a plain loop, run by the Python of another tool: TRACED_EXAMPLE=NAME, with benchmarks/ on the path.

slowai calls `main`; TraceML runs the file, and is told of each step as its documentation shows.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, repeat
from typing import Any

import torch
from torch.utils.data import DataLoader

from traced.examples import EXAMPLES

EXAMPLE = EXAMPLES[os.environ["TRACED_EXAMPLE"]]
STEPS = 60 if EXAMPLE.script else 24
"""Updates that TraceML sees: with fewer than 20 it calls nothing critical."""


def train(updates: int, step: Any = nullcontext) -> None:
    """So many updates, as they are written without any framework."""
    torch.manual_seed(42)
    model, data = EXAMPLE.network(), EXAMPLE.data()
    loader = DataLoader(data, batch_size=EXAMPLE.loader_batch, shuffle=None if EXAMPLE.per_batch else True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _, batch in zip(range(updates), chain.from_iterable(repeat(loader)), strict=False):
        traced: AbstractContextManager[Any] = step(model) if step is not nullcontext else step()
        with traced:
            optimizer.zero_grad(set_to_none=True)
            EXAMPLE.loss(model, batch).backward()
            optimizer.step()


def main() -> None:
    """What slowai profiles."""
    train(EXAMPLE.updates)


if __name__ == "__main__":
    import traceml_ai

    traceml_ai.init(mode="auto")
    train(STEPS, traceml_ai.trace_step)
