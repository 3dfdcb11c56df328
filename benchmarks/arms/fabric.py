"""Lightning Fabric: the hand-written loop, with Fabric's wrappers around model and optimiser."""

from __future__ import annotations

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.nn.functional import cross_entropy
from work import ACCUMULATE, CLIP, DECAY, Work


def arm(work: Work) -> list[Tensor]:
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed" if work.on else "32-true")
    params = [param.detach() for param in work.model.parameters()]
    inner = work.optimizer(fused=fuses(work))
    model, optimizer = fabric.setup(work.model, inner)
    if not work.on:
        for x, y in work.batches:
            loss = cross_entropy(model(x), y)
            fabric.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        return params
    schedule = work.onecycle(inner)
    average = [param.clone() for param in params]
    for i, (x, y) in enumerate(work.batches, start=1):
        last = i % ACCUMULATE == 0
        with fabric.no_backward_sync(model, enabled=not last):
            with fabric.autocast():
                loss = cross_entropy(model(x), y)
            fabric.backward(loss / ACCUMULATE)
        if last:
            fabric.clip_gradients(model, optimizer, max_norm=CLIP)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            torch._foreach_lerp_(average, params, 1 - DECAY)
    return average


def fuses(work: Work) -> bool:
    """Lightning refuses to clip in front of a fused optimiser."""
    return not work.on
