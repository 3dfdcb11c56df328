"""A training loop written by hand, as a careful engineer would, to compare runs with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from accel.data.sampling import permutation
from accel.testing.toy_run import BATCH, SAMPLES, Toy


def hand_loop(
    make: Callable[[nn.Module], torch.optim.Optimizer],
    *,
    epochs: int = 2,
    cast: Any = None,
    before_step: Callable[[nn.Module], Any] = lambda model: None,
    after_step: Callable[[nn.Module], Any] = lambda model: None,
    window: int = 1,
    updates: int | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and losses of the toy, without accel in the loop; it ends after `updates`, if that is no None."""
    toy = Toy()
    torch.manual_seed(3)
    model = toy.model()
    optimizer = make(model)
    data = toy.data("train")
    losses = []
    for epoch in range(epochs):
        model.train()
        order = permutation(SAMPLES, 3, epoch).split(BATCH)  # type: ignore[no-untyped-call]
        # a generator of its own: a DataLoader otherwise draws a number from the global one, which moves the dropout
        loader = list(DataLoader(data, batch_sampler=[keys.tolist() for keys in order], generator=torch.Generator()))
        for start in range(0, len(loader), window):
            if len(losses) == updates:
                break
            batches = loader[start : start + window]
            items = sum(len(batch[0]) for batch in batches)
            optimizer.zero_grad()
            total = torch.zeros(())
            for batch in batches:
                with cast or nullcontext():
                    loss = toy.loss(model, batch)
                if len(batches) == 1:
                    loss.backward()  # type: ignore[no-untyped-call]
                    total = loss.detach()
                else:
                    (loss * (len(batch[0]) / items)).backward()
                    total = total + loss.detach() * (len(batch[0]) / items)
            losses.append(total)
            before_step(model)
            optimizer.step()
            after_step(model)
    return [param.detach().clone() for param in model.parameters()], losses
