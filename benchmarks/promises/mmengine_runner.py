"""OpenMMLab's mmengine Runner."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from promises.task import WINDOW, Lacking, Recorder, batches, model, pairs, per_update, wide

PACKAGE = "mmengine"


class Mean(BaseModel):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Any, mode: str = "loss") -> dict[str, Any]:
        return {"loss": self.net(x).mean()}

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Any]:
        with optim_wrapper.optim_context(self):
            loss = self(*data)["loss"]
        optim_wrapper.update_params(loss)
        return {"loss": loss}


class Classify(Mean):
    def forward(self, x: Any, y: Any, mode: str = "loss") -> dict[str, Any]:
        return {"loss": cross_entropy(self.net(x), y)}


def run(net: BaseModel, data: TensorDataset, wrapper: OptimWrapper, batch_size: int = 1, hooks: Any = None) -> Runner:
    with TemporaryDirectory() as folder:
        runner = Runner(
            net, work_dir=folder,
            train_dataloader={
                "batch_size": batch_size, "dataset": data, "num_workers": 0, "collate_fn": {"type": "default_collate"},
                "sampler": {"type": "DefaultSampler", "shuffle": False},
            },
            train_cfg={"by_epoch": True, "max_epochs": 1}, optim_wrapper=wrapper, custom_hooks=hooks,
            param_scheduler={"type": "MultiStepLR", "by_epoch": False, "milestones": list(range(1, 100)), "gamma": 0.5},
            default_hooks={"checkpoint": None, "logger": None}, log_level="ERROR",
        )  # fmt: skip
        runner.train()
    return runner


def ones(count: int) -> TensorDataset:
    return TensorDataset(torch.cat(batches(count)))


def windows() -> list[float]:
    net = Mean(model())
    recorder = Recorder(net.parameters())
    run(net, ones(6), OptimWrapper(recorder, accumulative_counts=WINDOW))
    return recorder.seen


def skipped_average() -> int:
    raise Lacking("refuses fp16 on a CPU")


def skipped_rate() -> list[float]:
    raise Lacking("refuses fp16 on a CPU")


def ticks() -> list[int]:
    net = Mean(model())
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    runner = run(net, ones(8), OptimWrapper(optimizer, accumulative_counts=WINDOW), hooks=[{"type": "EMAHook"}])
    hook = next(hook for hook in runner._hooks if type(hook).__name__ == "EMAHook")
    return [int(hook.ema_model.steps), {0.5**n: n for n in range(20)}[optimizer.param_groups[0]["lr"]]]


def classify(updates: int) -> None:
    net = Classify(wide())
    x, y = (torch.cat(values) for values in zip(*pairs(updates), strict=True))
    wrapper = OptimWrapper(torch.optim.AdamW(net.parameters(), fused=True), clip_grad={"max_norm": 1.0})
    run(net, TensorDataset(x, y), wrapper, batch_size=16)


def fused_clip() -> str:
    classify(4)
    return "trains"


def order() -> int:
    raise Lacking("hooks run by their integer priority; what they do is the user's")


def reads() -> float:
    return per_update(classify)


def reads_fp16() -> float:
    raise Lacking("refuses fp16 on a CPU")
