"""The hand-written loop: what a good engineer writes, without a framework."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from work import ACCUMULATE, CLIP, DECAY, Work


def hand(work: Work) -> list[Tensor]:
    return everything(work) if work.on else nothing(work)


def nothing(work: Work) -> list[Tensor]:
    model, optimizer = work.model, work.optimizer()
    for x, y in work.batches:
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return list(model.parameters())


def everything(work: Work) -> list[Tensor]:
    model, optimizer = work.model, work.optimizer()
    schedule = work.onecycle(optimizer)
    params = [param.detach() for param in model.parameters()]
    average = [param.clone() for param in params]
    for i, (x, y) in enumerate(work.batches, start=1):
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(model(x), y)
        (loss / ACCUMULATE).backward()
        if i % ACCUMULATE == 0:
            clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            torch._foreach_lerp_(average, params, 1 - DECAY)
    return average
