"""What two ranks do for test_one_run.py: each case is a run in which the second rank differs, or fails alone."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import distribute_module
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    Sampler,
    Subset,
    TensorDataset,
    default_collate,
)

from accel import Trainer
from accel.errors import ConfigError, Interrupted, TrainingError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.clip import Clip
from accel.plugins.ddp import DDP
from accel.plugins.ema import EMA
from accel.plugins.fsdp import FSDP
from accel.plugins.prefetch import Prefetch
from accel.plugins.sgd import SGD
from accel.plugins.workers import Workers
from accel.system.rendezvous import open_store
from tests.support.end_threads import gloo_threads
from tests.support.rank_border_cases import (  # noqa: F401 - cases of the same two processes
    case_asked_from_inside,
    case_own_backward,
)
from tests.support.rank_evaluation_cases import (  # noqa: F401 - cases of the same two processes
    case_best,
    case_evaluations_that_need_an_update,
    case_metric_objects,
    case_metrics,
    case_unequal_lengths,
)
from tests.support.rank_shape_cases import (  # noqa: F401 - cases of the same two processes
    case_an_average_that_is_refused,
    case_averages_with_batch_norm,
    case_ends,
    case_hints,
    case_shapes,
)
from tests.support.short_farewell import short_farewell

RANK = int(os.environ.get("RANK", "0"))
SECOND = RANK == 1


def points(samples: int = 24, seed: int = 0) -> TensorDataset:
    x = torch.randn(samples, 6, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x.argmax(1) % 3, torch.arange(samples))


class Rows(Dataset[Any]):
    """The same, sample by sample; with noise, another each time."""

    def __init__(self, data: TensorDataset, noise: bool = False) -> None:
        self.data, self.noise = data, noise

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        x, *rest = self.data[index]
        return x + self.noise * torch.randn(
            6, generator=torch.Generator().manual_seed(random.SystemRandom().randrange(2**40))
        ), *rest


class Stream(IterableDataset[Any]):
    """The points in an order of its own."""

    def __init__(self, order: str = "", samples: int = 24) -> None:
        self.order, self.samples = order, samples

    def __iter__(self) -> Iterator[Any]:
        rows = [row for number, row in enumerate(points(self.samples)) if self.order != "split" or number % 2 == RANK]
        if self.order == "shuffled":
            random.shuffle(rows)
        if self.order == "unseeded":
            random.SystemRandom().shuffle(rows)
        while rows:
            yield rows.pop(int(torch.randint(len(rows), ())) if self.order == "drawn" else 0)


class SplitByNode(Stream):
    """As split_dataset_by_node of the package datasets leaves a stream."""

    def __init__(self) -> None:
        super().__init__("split")
        self._distributed = SimpleNamespace(rank=RANK, world_size=2)


class OwnSampler(Sampler[int]):
    """As libraries write theirs: it deals out a permutation drawn from the global generators."""

    def __init__(self, samples: int, short: bool = False) -> None:
        self.num_replicas, self.rank, self.samples, self.short = 2, RANK, samples, short

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(self.samples).tolist()[RANK::2][: len(self)])

    def __len__(self) -> int:
        return self.samples // 2 - (self.short and SECOND)


class Failing(Trainer):
    """The second rank fails at a place."""

    def __init__(self, place: str = "", **run: Any) -> None:
        super().__init__(**run)
        self.place, self.calls, self.seen = place, 0, list[int]()

    def fail_at(self, place: str) -> None:
        if SECOND and place == self.place:
            raise ConfigError("the second rank's own") if "config" in place else KeyError("the second rank's own")

    def model(self) -> nn.Module:
        self.fail_at("model")
        return nn.Linear(6, 3)

    def data(self, split: str) -> Any:
        self.fail_at("data config")
        return points(24 if split == "train" else 7)

    def loss(self, model: nn.Module, batch: Any) -> Any:
        self.calls += model.training
        self.fail_at(f"loss {self.calls}" if model.training else "evaluation")
        self.fail_at(f"loss config {self.calls}")
        result = loss(model, batch)
        self.fail_at(f"backward {self.calls}")
        return result


def loss(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def other_loss(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.1)


def fit(*plugins: Part, data: Any = None, kind: type[Trainer] = Trainer, **run: Any) -> Any:
    """What a run came to: its sentence, or its numbers and the samples that this rank saw."""
    seen: list[int] = []
    measure = run.pop("loss", loss)
    where = RANK

    def noted(model: nn.Module, batch: Any) -> Tensor:
        assert where == RANK
        seen.extend(batch[2].tolist())
        result: Tensor = measure(model, batch)
        return result

    if kind is Trainer:
        run = {"model": nn.Linear(6, 3), "data": points() if data is None else data, "loss": noted, "batch_size": 3} | run
    if not isinstance(data, None | Dataset):
        run.pop("batch_size", None)
    try:
        result = kind(plugins=plugins or [DDP()], watch=(), device="cpu", **run).fit()
    except (ConfigError, TrainingError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return {"samples": result.samples, "updates": result.updates, "loss": result.loss, "seen": seen}


def half_collate(rows: list[Any]) -> Any:
    x, *rest = default_collate(rows)
    return x / 2, *rest


def last_row_changed() -> TensorDataset:
    """Points of which the second rank has another last one than the first."""
    data = points()
    data.tensors[0][-1] += RANK
    return data


def half() -> Dataset[Any]:
    """As split_dataset_by_node leaves a map-style data set: another half of it on each rank."""
    return Subset(points(), range(12 * RANK, 12 * RANK + 12))


def case_threads(folder: Path) -> list[int]:
    counts = []
    for make in (DDP, FSDP):
        for plugins in ((), (EMA(), Clip(max_norm=0.1))):
            fit(make(), *plugins, val=points(7), checkpoint_every=2, out=folder / f"{make.__name__}{len(plugins)}")
            counts.append(gloo_threads())
    return counts


def case_differences(folder: Path) -> dict[str, Any]:
    cases: dict[str, Callable[[], Any]] = {
        "plugins.sgd.lr": lambda: fit(DDP(), SGD(lr=0.2 if SECOND else 0.1)),
        "plugins.clip": lambda: fit(DDP(), *[Clip()] * SECOND),
        "plugins.ema.decay": lambda: fit(FSDP(), EMA(decay=0.8 + 0.1 * RANK)),
        "plugins.ddp.find_unused": lambda: fit(DDP(find_unused=SECOND)),
        "plugins.accumulate.steps": lambda: fit(DDP(), Accumulate(steps=2 + RANK)),
        "seed": lambda: fit(seed=RANK),
        "epochs": lambda: fit(FSDP(), epochs=1 + RANK),
        "batch_size": lambda: fit(batch_size=3 + RANK),
        "checkpoint.every": lambda: fit(checkpoint_every=1 + RANK, out=folder / "every"),
        "dry_run": lambda: fit(dry_run=SECOND),
        "the code of collate": lambda: fit(collate=half_collate if SECOND else default_collate, data=Rows(points())),
        "data.train holds other": lambda: fit(data=last_row_changed()),
        "data.train.samples": lambda: fit(data=points(24 + RANK)),
        "data.train holds": lambda: fit(data=points(24, RANK)),
        "data.train holds other samples": lambda: fit(data=Rows(points(24, RANK))),
        "the code of loss": lambda: fit(loss=other_loss if SECOND else loss),
        "model.weight": lambda: fit(model=nn.Linear(6, 3 + RANK)),
        "model.bias": lambda: fit(FSDP(), model=nn.Linear(6, 3, bias=not SECOND)),
        "val.samples": lambda: fit(val=points(7 + RANK)),
        "reads another first batch": lambda: fit(data=Stream("split")),
        "reads another first batch than": lambda: fit(data=DataLoader(Stream("split"), 3)),
        "rank 1 reads another": lambda: fit(data=list(DataLoader(points(), 3))[RANK::2]),
        "rank 1 reads another first batch than rank 0": lambda: fit(val=DataLoader(Stream("split"), 3)),
        "_by_node divides": lambda: fit(data=SplitByNode()),
        "split_dataset_by_node divides": lambda: fit(FSDP(), data=DataLoader(SplitByNode(), 3)),
        "train holds other samples": lambda: fit(data=half()),
        "rank 1 reads another first batch than": lambda: fit(data=DataLoader(half(), 3, shuffle=True)),
        "and this is rank 1 of 2": lambda: fit(data=DataLoader(points(), 3, sampler=DistributedSampler(points(), 2, 0))),
        "samples of a rank": lambda: fit(data=DataLoader(points(24), 8, sampler=OwnSampler(24, short=True))),
    }
    return {name: case() for name, case in cases.items()}


FACTOR, FACTORS = 1.0, {"loss": 1.0}
"""Constants that the second rank changes."""


class Scaled:
    """A loss with a factor, and a number of its rank."""

    def __init__(self, factor: float) -> None:
        self.factor, self.rank, self.device = factor, RANK, f"cuda:{RANK}"

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        return self.factor * loss(model, batch)

    def method(self, model: nn.Module, batch: Any) -> Tensor:
        return self(model, batch)


def case_values(folder: Path) -> dict[str, list[str]]:
    """What is warned of where the second rank's functions and objects hold other numbers."""
    global FACTOR
    if SECOND:
        FACTOR, FACTORS["loss"] = 2.0, 2.0
    weights, norm = torch.ones(3) + SECOND, nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))
    norm[1].train(not SECOND)
    cases: dict[str, Any] = {
        "measure.FACTOR is 1.0 on rank 0 and 2.0 on rank 1": {"loss": lambda model, batch: FACTOR * loss(model, batch)},
        "measure.FACTORS is not the same": {"loss": lambda model, batch: FACTORS["loss"] * loss(model, batch)},
        "measure.weights is not the same": {"loss": lambda model, batch: (weights[batch[1]] * loss(model, batch)).mean()},
        "measure.factor is 1.0": {"loss": Scaled(1.0 + SECOND)},
        "measure.self.factor is 1.0": {"loss": Scaled(1.0 + SECOND).method},
        "model.1.training is True on rank 0 and False on rank 1": {"model": norm},
        "": {"loss": Scaled(1.0)},
    }
    messages: dict[str, list[str]] = {}
    for name, run in cases.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            outcome = fit(DDP(), **run)
            messages[name] = [outcome] if isinstance(outcome, str) else [str(one.message) for one in caught]
    return messages


def case_what_may_differ(folder: Path) -> dict[str, Any]:
    def split(sampler: Any, **more: Any) -> DataLoader[Any]:
        return DataLoader(points(23), 3, sampler=sampler, **more)

    torch_sampler = lambda: DistributedSampler(points(23), 2, RANK)  # noqa: E731
    cases: dict[str, Callable[[], Any]] = {
        "out": lambda: fit(out=None if SECOND else folder / "out", checkpoint_every=1, epochs=2),
        "readers": lambda: fit(DDP(), *[Prefetch()] * SECOND, *[Workers(count=1)] * (not SECOND), data=Rows(points())),
        "weights": lambda: fit(FSDP(), model=nn.Linear(6, 3).requires_grad_(True)),
        "noise": lambda: fit(data=Rows(points(), noise=True)),
        "stream": lambda: fit(data=Stream(samples=23)),
        "shuffled": lambda: fit(data=Stream("shuffled", 23), epochs=2),
        "drawn": lambda: fit(DDP(), Prefetch(), data=Stream("drawn", 23), epochs=2),
        "drawn ready": lambda: fit(DDP(), Prefetch(), data=DataLoader(Stream("drawn", 23), 3), epochs=2),
        "sampler": lambda: fit(data=split(torch_sampler()), epochs=2),
        "batch sampler": lambda: fit(data=DataLoader(points(23), batch_sampler=BatchSampler(torch_sampler(), 3, False)), epochs=2),
        "own sampler": lambda: fit(data=DataLoader(points(24), 3, sampler=OwnSampler(24)), epochs=2),
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*prefetch has no effect.*")
        actual = {name: case() for name, case in cases.items()}
    torch.manual_seed(RANK)  # other weights on each rank: the first rank's count
    actual["own weights"] = fit(FSDP(), model=nn.Linear(6, 3))
    return actual


def case_failures(folder: Path) -> dict[str, Any]:
    places = ("model", "data config", "loss 1", "loss config 2", "loss 3", "backward 2", "evaluation")
    actual: dict[str, Any] = {}
    for make in (DDP, FSDP):
        for place in places:
            begin = monotonic()
            sentence = fit(make(), kind=Failing, place=place, epochs=2, batch_size=3)
            actual[f"{make.__name__} {place}"] = sentence, monotonic() - begin
        actual[f"{make.__name__} nccl config"] = fit(make(backend="nccl" if SECOND else "gloo")), 0
    return {"sentences": actual, "afterwards": fit()}


def case_other_ends(folder: Path) -> dict[str, str]:
    """What both ranks say where the second one ends by something that is no error of a run."""
    ends: dict[str, BaseException] = {
        "exit": SystemExit(3), "key": KeyboardInterrupt(), "signal": Interrupted("SIGINT"),
        "own connection": RuntimeError("connection reset by peer: the database"),
    }  # fmt: skip

    def failing(model: nn.Module, batch: Any) -> Tensor:
        if SECOND:
            raise ends[name]
        return loss(model, batch)

    sentences: dict[str, str] = {}
    for make in (DDP, FSDP):
        for name in ends:
            try:
                with short_farewell():
                    sentences[f"{make.__name__} {name}"] = str(fit(make(), loss=failing))
            except BaseException as error:
                sentences[f"{make.__name__} {name}"] = f"{type(error).__name__}: {error}"
    return sentences


def case_resumed_with_a_sampler(folder: Path) -> Any:
    def run(**more: Any) -> Any:
        return fit(data=DataLoader(points(23), 3, sampler=DistributedSampler(points(23), 2, RANK)), epochs=2, **more)

    class Stopped(KeyError):
        pass

    calls = 0

    def stop(model: nn.Module, batch: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise Stopped
        return loss(model, batch)

    whole = run()
    with suppress(Stopped):
        run(out=folder / "run", checkpoint_every=1, loss=stop)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*the code of loss.*|.*has values of loss.measure.calls.*")  # it is gone
        return whole, run(resume=folder / "run", out=folder / "run")


def wrapped() -> dict[str, Any]:
    """What became of models that the user wrapped for ranks, in a group that exists."""
    mesh = DeviceMesh.from_group(cast(Any, dist.group.WORLD), "cpu")

    def bare() -> nn.Module:
        torch.manual_seed(3)
        return nn.Linear(6, 3)

    def sharded() -> nn.Module:
        module: nn.Module = fully_shard(bare(), mesh=mesh)
        return module

    cases: dict[str, tuple[tuple[Part, ...], Callable[[], nn.Module]]] = {
        "bare": ((DDP(),), bare),
        "ddp": ((DDP(),), lambda: DistributedDataParallel(bare())),
        "ddp under fsdp": ((FSDP(),), lambda: DistributedDataParallel(bare())),
        "ddp inside": ((DDP(),), lambda: nn.Sequential(DistributedDataParallel(bare()))),
        "ddp inside, under fsdp": ((FSDP(),), lambda: nn.Sequential(DistributedDataParallel(bare()))),
        "ddp alone": ((SGD(),), lambda: DistributedDataParallel(bare())),
        "sharded": ((DDP(),), sharded),
        "sharded under fsdp": ((FSDP(),), sharded),
        "sharded inside": ((FSDP(),), lambda: nn.Sequential(nn.Linear(6, 6), sharded())),
        "sharded alone": ((SGD(),), sharded),
        "sharded inside, alone": ((SGD(),), lambda: nn.Sequential(nn.Linear(6, 6), sharded())),
        "by tensors": ((DDP(),), lambda: distribute_module(bare(), mesh)),
        "by torch's first FSDP": ((DDP(),), lambda: FullyShardedDataParallel(bare(), device_id=torch.device("cpu"))),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: fit(*plugins, model=make()) for name, (plugins, make) in cases.items()}


def case_a_group_of_the_users(folder: Path) -> dict[str, Any]:
    limit = timedelta(seconds=60)
    dist.init_process_group("gloo", store=dist.PrefixStore("user", open_store(60)), rank=RANK, world_size=2, timeout=limit)
    actual = {"ddp": fit(), "fsdp": fit(FSDP()), "wrong": fit(DDP(backend="nccl"))}
    number = torch.ones(())
    dist.all_reduce(number)
    actual["lives"] = float(number)
    actual["wrapped"] = wrapped()
    with suppress(RuntimeError):
        os.environ["WORLD_SIZE"] = "3"
        actual["size"] = fit()
    os.environ["WORLD_SIZE"] = "2"
    dist.destroy_process_group()
    return actual
