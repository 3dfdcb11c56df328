"""Hugging Face Accelerate, in the loop that its documentation shows."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.scheduler import AcceleratedScheduler
from accelerate.state import AcceleratorState, GradientState
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

from promises.task import WINDOW, Lacking, Recorder, batches, model, pairs, per_update, wide

PACKAGE = "accelerate"


def fresh(**settings: Any) -> Accelerator:
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    return Accelerator(cpu=True, **settings)


def accumulated(count: int, optimizer: torch.optim.Optimizer, schedule: Any, net: Any) -> None:
    accelerator = fresh(gradient_accumulation_steps=WINDOW)
    loader = DataLoader(TensorDataset(torch.cat(batches(count))), batch_size=1)
    net, optimizer, schedule, loader = accelerator.prepare(net, optimizer, schedule, loader)
    for (x,) in loader:
        with accelerator.accumulate(net):
            accelerator.backward(net(x).mean())
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


def windows() -> list[float]:
    net = model()
    recorder = Recorder(net.parameters())
    accumulated(6, recorder, StepLR(recorder, 1), net)
    return recorder.seen


def skipped_average() -> int:
    raise Lacking("has no average")


def skipped_rate() -> list[float]:
    rates = []
    for fused in (False, True):
        fresh()
        weight = torch.nn.Parameter(torch.ones(4))
        inner = torch.optim.AdamW([weight], lr=1.0, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        optimizer = AcceleratedOptimizer(inner, device_placement=False, scaler=scaler)
        schedule = AcceleratedScheduler(StepLR(inner, 1, 0.5), optimizer)
        for _ in range(4):
            weight.grad = torch.full((4,), torch.inf)
            scaler.scale(torch.ones(()))
            optimizer.step()
            schedule.step()
        rates.append(inner.param_groups[0]["lr"])
    return rates


def ticks() -> list[Any]:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    accumulated(8, optimizer, StepLR(optimizer, 1, 0.5), net)
    return ["no average", {0.5**n: n for n in range(20)}[optimizer.param_groups[0]["lr"]]]


def loop(updates: int) -> None:
    accelerator = fresh(mixed_precision="no")
    net = wide()
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    net, optimizer, schedule = accelerator.prepare(net, optimizer, StepLR(optimizer, 1, 0.99))
    for x, y in pairs(updates):
        with accelerator.accumulate(net):
            optimizer.zero_grad()
            accelerator.backward(cross_entropy(net(x), y))
            accelerator.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()


def fused_clip() -> str:
    accelerator = fresh(mixed_precision="bf16")
    net = wide()
    net, optimizer = accelerator.prepare(net, torch.optim.AdamW(net.parameters(), fused=True))
    for x, y in pairs(2):
        accelerator.backward(cross_entropy(net(x), y))
        accelerator.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    return "trains"


def order() -> int:
    raise Lacking("has no plugins; the loop is the user's")


def reads() -> float:
    return per_update(loop)


def reads_fp16() -> float:
    raise Lacking("refuses fp16 on a CPU")
