"""pytorch-ignite: `create_supervised_trainer`, and its handlers on the events that its documentation names."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Events, create_supervised_trainer
from ignite.handlers import EMAHandler
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import StepLR

from promises.task import WINDOW, Lacking, Recorder, batches, model, pairs, per_update, wide

PACKAGE = "pytorch-ignite"


def mean(out: Any, _: Any) -> Any:
    return out.mean()


def doubled(count: int) -> list[Any]:
    return [(batch, batch) for batch in batches(count)]


def windows() -> list[float]:
    net = model()
    recorder = Recorder(net.parameters())
    create_supervised_trainer(net, recorder, mean, gradient_accumulation_steps=WINDOW).run(doubled(6), max_epochs=1)
    return recorder.seen


def moved(average: EMAHandler, engine: Any) -> list[int]:
    """Counts the moves of an average: its momentum says so."""
    moves = [0]
    inner = average._update_ema_model

    def update(*args: Any, **kwargs: Any) -> None:
        moves[0] += 1
        inner(*args, **kwargs)

    average._update_ema_model = update
    average.attach(engine)
    return moves


def skipped_average() -> int:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    scaler = torch.amp.GradScaler("cpu")

    def step(engine: Any, batch: Any) -> None:  # its own mixed-precision step asks for CUDA; this is the same one
        optimizer.zero_grad()
        scaler.scale(net(batch[0]).mean() * torch.inf).backward()
        scaler.step(optimizer)
        scaler.update()

    from ignite.engine import Engine

    engine = Engine(step)
    moves = moved(EMAHandler(net, momentum=0.1), engine)
    engine.run(doubled(4))
    return moves[0]


def skipped_rate() -> list[float]:
    raise Lacking("does not couple the schedule to the scaler; the rule is the user's")


def ticks() -> list[int]:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    engine = create_supervised_trainer(net, optimizer, mean, gradient_accumulation_steps=WINDOW)
    schedule = StepLR(optimizer, 1, 0.5)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: schedule.step())
    moves = moved(EMAHandler(net, momentum=0.1), engine)
    engine.run(doubled(8))
    return [moves[0], {0.5**n: n for n in range(20)}[optimizer.param_groups[0]["lr"]]]


def fused_clip() -> str:
    raise Lacking("has no clipping; the step is the user's")


def order() -> int:
    raise Lacking("handlers run in the order of their registration; what they do is the user's")


def reads() -> float:
    def run(updates: int) -> None:
        net = wide()
        optimizer = torch.optim.AdamW(net.parameters(), fused=True)
        # its default output is loss.item(), which is a read per update
        engine = create_supervised_trainer(net, optimizer, cross_entropy, output_transform=lambda x, y, out, loss: None)
        engine.run(pairs(updates))

    return per_update(run)


def reads_fp16() -> float:
    raise Lacking("its mixed precision needs CUDA")
