"""One run of benchmarks/cpu.py, in a process of its own: plain PyTorch, Lightning or accel on one case. Prints a line of JSON.

torch is imported before anything of accel, in the arms of the others: accel would set how long OpenMP's threads wait.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from time import perf_counter
from typing import Any

if len(sys.argv) > 1 and sys.argv[1] == "accel":
    import accel  # noqa: F401 - sets it, as it does on the command line

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

WARM = 2
"""Updates that are not timed: caches and memory are then where they will be."""
LAST = 10
"""Updates whose mean loss is the result."""
LR, DECAY, VOCABULARY, CLASSES = 1e-3, 0.01, 8192, 100


@dataclass(frozen=True)
class Case:
    """A model, its batches and how many updates are made.

    Args:
        about: it, in words.
        model: the name of the model in `make_model`.
        shape: of a batch.
        updates: timed ones.
    """

    about: str
    model: str
    shape: tuple[int, ...]
    updates: int
    is_large: bool = False
    """Whether the batch is large, which asks for more of accel."""


CASES = {
    "digits": Case("convnet on the digits, 32 pictures of 8x8", "convnet", (32, 1, 8, 8), 300),
    "resnet18_32": Case("ResNet-18, 64 pictures of 32x32", "resnet32", (64, 3, 32, 32), 5),
    "resnet18_32_large": Case("ResNet-18, 256 pictures of 32x32", "resnet32", (256, 3, 32, 32), 2, is_large=True),
    "resnet18_96": Case("ResNet-18, 16 pictures of 96x96", "resnet96", (16, 3, 96, 96), 20),
    "resnet18_96_large": Case("ResNet-18, 128 pictures of 96x96", "resnet96", (128, 3, 96, 96), 4, is_large=True),
    "gpt": Case("GPT, 4 layers of width 256, 8 texts of 128 tokens", "gpt", (8, 128), 12),
}


def make_model(name: str) -> nn.Module:
    """The model, initialised from a seed."""
    from accel.tasks.models.convnet import convnet
    from accel.tasks.models.gpt import GPT
    from accel.tasks.models.resnet import resnet18

    torch.manual_seed(0)
    makers: dict[str, Callable[[], nn.Module]] = {
        "convnet": lambda: convnet(10, 32),
        "resnet32": lambda: resnet18(CLASSES, 32),
        "resnet96": lambda: resnet18(CLASSES, 96),
        "gpt": lambda: GPT(VOCABULARY, 128, 4, 4, 256),
    }
    return makers[name]()


class Batches:
    """Batches of a DataLoader, as many as there are updates, which carry the clock: it starts after the warm-up."""

    def __init__(self, case: Case, updates: int, data: Path) -> None:
        self.count, self.started, self.seconds = WARM + updates, 0.0, 0.0
        rng = torch.Generator().manual_seed(0)
        samples = 4 * case.shape[0]
        if case.model == "convnet":
            x, y = torch.load(data)
        elif case.model == "gpt":
            x, y = (torch.randint(VOCABULARY, (samples, *case.shape[1:]), generator=rng) for _ in range(2))
        else:
            x = torch.randn(samples, *case.shape[1:], generator=rng)
            y = torch.randint(CLASSES, (samples,), generator=rng)
        self.loader = DataLoader(TensorDataset(x, y), batch_size=case.shape[0], drop_last=True)

    def __len__(self) -> int:
        return self.count + 1

    def __iter__(self) -> Iterator[Any]:
        endless = chain.from_iterable(self.loader for _ in count())
        yield from islice(endless, WARM)
        self.started = perf_counter()
        yield from islice(endless, self.count - WARM)
        self.seconds = perf_counter() - self.started  # asked for one batch more, which ends the last timed update
        yield next(endless)


class Loss:
    """Cross-entropy, which keeps its values."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        x, y = batch
        loss = cross_entropy(model(x).flatten(0, -2), y.flatten())
        self.values.append(loss.detach())
        return loss


def plain(case: Case, batches: Batches, loss: Loss, words: list[str]) -> None:
    """The loop as people write it."""
    del words
    model = make_model(case.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY)
    model.train()
    total = 0.0
    for batch in batches:
        optimizer.zero_grad()
        value = loss(model, batch)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += value.item()


def lightning(case: Case, batches: Batches, loss: Loss, words: list[str]) -> None:
    """Lightning with its best flags: the fused optimiser, channels_last for convolutions, and nothing that it need not do."""
    import logging

    import lightning as lit

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    model = make_model(case.model)
    if case.model != "gpt":
        model = model.to(memory_format=torch.channels_last)

    class Module(lit.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def training_step(self, batch: Any, index: int) -> Tensor:
            x, y = batch
            return loss(self.net, (x.to(memory_format=torch.channels_last) if x.dim() == 4 else x, y))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=LR, weight_decay=DECAY, fused=True)

    trainer = lit.Trainer(
        max_epochs=1, accelerator="cpu", devices=1, precision="bf16-mixed" if "bf16" in words else "32-true", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), batches)


def with_accel(case: Case, batches: Batches, loss: Loss, words: list[str]) -> None:
    """accel's command line, from its overrides on, without the watches that draw and write."""
    import cpu_task

    from accel.cli.compose.compose import compose

    cpu_task.GIVEN.update(model=make_model(case.model), batches=batches, loss=loss)
    compose(["task._target_=cpu_task.Measured", "epochs=1", "device=cpu", *words]).trainer(watch=[]).fit()


ARMS: dict[str, Callable[[Case, Batches, Loss, list[str]], None]] = {"plain": plain, "lightning": lightning, "accel": with_accel}


def main() -> None:
    arm, name, updates, data, *words = sys.argv[1:]
    batches, loss = Batches(CASES[name], int(updates), Path(data)), Loss()
    started = perf_counter()
    ARMS[arm](CASES[name], batches, loss, words)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({
        "ms": 1000 * batches.seconds / int(updates), "whole": perf_counter() - started, "peak": peak,
        "loss": float(torch.stack(loss.values[-LAST:]).float().mean()), "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
