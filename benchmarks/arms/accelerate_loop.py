"""Hugging Face Accelerate: its own loop, `with accelerator.accumulate(model)`; the average by hand, for it has none."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor
from torch.nn.functional import cross_entropy
from work import ACCUMULATE, CLIP, DECAY, Work


def arm(work: Work) -> list[Tensor]:
    # its state is shared by all Accelerators of a process: without this the second would keep the precision of the first
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    accelerator = Accelerator(
        cpu=True, mixed_precision="bf16" if work.on else "no", gradient_accumulation_steps=ACCUMULATE if work.on else 1
    )
    params = [param.detach() for param in work.model.parameters()]
    inner = work.optimizer()
    if not work.on:
        model, optimizer = accelerator.prepare(work.model, inner)
        for x, y in work.batches:
            loss = cross_entropy(model(x), y)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        return params
    model, optimizer, schedule = accelerator.prepare(work.model, inner, work.onecycle(inner))
    average = [param.clone() for param in params]
    for x, y in work.batches:
        with accelerator.accumulate(model):
            with accelerator.autocast():
                loss = cross_entropy(model(x), y)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            if accelerator.sync_gradients:
                torch._foreach_lerp_(average, params, 1 - DECAY)
    return average
