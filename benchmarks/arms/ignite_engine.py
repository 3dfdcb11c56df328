"""pytorch-ignite: an Engine around a step function, with the schedule and the average as handlers of its events."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import EMAHandler
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from work import ACCUMULATE, CLIP, DECAY, Work


def arm(work: Work) -> list[Tensor]:
    model, optimizer = work.model, work.optimizer()
    if not work.on:
        create_supervised_trainer(model, optimizer, cross_entropy, output_transform=lambda x, y, out, loss: None).run(work.batches)
        return list(model.parameters())

    def step(engine: Engine, batch: Any) -> None:
        x, y = batch
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(model(x), y)
        (loss / ACCUMULATE).backward()
        if engine.state.iteration % ACCUMULATE == 0:
            clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()

    engine, schedule = Engine(step), work.onecycle(optimizer)
    window = Events.ITERATION_COMPLETED(every=ACCUMULATE)
    engine.add_event_handler(window, lambda _: schedule.step())
    average = EMAHandler(model, momentum=1 - DECAY)
    average.attach(engine, event=window)
    engine.run(work.batches)
    return list(average.ema_model.parameters())
