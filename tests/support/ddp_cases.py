"""What two ranks do for test_ddp.py; see `tests.support.rank_processes`."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from accel import Minimize, Trainer
from accel.errors import ConfigError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.cosine import Cosine
from accel.plugins.ddp import DDP
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.fsdp import FSDP
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.muon import Muon
from accel.plugins.prefetch import Prefetch
from accel.plugins.resident import Resident
from accel.plugins.sgd import SGD
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers
from tests.support.drill_length import LONG
from tests.support.own_loop_cases import (  # noqa: F401  # cases of these ranks too, whose start takes seconds
    case_own_loop_equals_fit,
    case_own_loop_evaluates,
    case_own_loop_goes_on,
    case_own_loop_refusals,
    case_own_loop_stops,
)
from tests.support.points_trainer import RANK, Keeps, Points, Stop
from tests.support.random_tasks import OnDevice
from tests.support.rank_count_changes import turns


class Words(Points):
    """Its loss is a mean over some items of each sample, more of some than of others."""

    def loss(self, model: nn.Module, batch: Any) -> Any:
        weight = batch[1].add(1)
        each = nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
        return (each * weight).sum() / weight.sum(), weight.sum()


class Labelled(Points):
    """Its loss is a mean over the samples that are not of class 0: NaN, with gradients of NaN, on a rank that has no other."""

    on_device = False

    def loss(self, model: nn.Module, batch: Any) -> Any:
        labels = batch[1].where(batch[1] > 0, -1)
        count = (labels >= 0).sum()
        loss = nn.functional.cross_entropy(model(batch[0]), labels, ignore_index=-1)
        return loss, count.as_subclass(OnDevice) if self.on_device else count


class LabelledOnDevice(Labelled):
    on_device = True


class Rows(torch.utils.data.Dataset[Any]):
    """The same points, one sample after the other."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return self.data[index]


class Sampled(Points):
    def data(self, split: str) -> Any:
        return Rows(super().data(split))


class Stream(IterableDataset[Any]):
    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        return (self.data[index] for index in range(len(self.data)))


class Streaming(Points):
    def data(self, split: str) -> Any:
        return Stream(super().data(split))


class InBatches(Points):
    def data(self, split: str) -> Any:
        points, labels = super().data(split).tensors
        return list(zip(points.split(3), labels.split(3), strict=True))


class Guessed(InBatches):
    """Its batches have the time first, and the samples behind."""

    def data(self, split: str) -> Any:
        return [(points.expand(2, *points.shape), labels) for points, labels in super().data(split)]

    def loss(self, model: nn.Module, batch: Any) -> Any:
        return super().loss(model, (batch[0][0], batch[1]))


class Counted(Guessed):
    """The same, with the number of samples."""

    def count_samples(self, batch: Any) -> int:
        return len(batch[1])


class Shuffled(Points):
    """Ready batches in an order drawn from the global random numbers; remembers what this rank has seen."""

    def data(self, split: str) -> Any:
        self.seen: list[int] = []
        return DataLoader(TensorDataset(torch.arange(22.0).view(22, 1).expand(22, 6), torch.zeros(22).long()), 3, shuffle=True)

    def loss(self, model: nn.Module, batch: Any) -> Any:
        if model.training:
            self.seen += batch[0][:, 0].int().tolist()
        return super().loss(model, batch)


class Two(Points):
    """Body and head have losses of their own, whose means are over items; a part of the body is not used."""

    loss = Trainer.loss

    def model(self) -> nn.Module:
        body, head = nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.Tanh()), nn.Linear(16, 3)
        return nn.ModuleDict({"body": body, "head": head, "spare": nn.Linear(2, 2)}).to(self.dtype)

    def head_loss(self, model: Any, batch: Any) -> Any:
        weight = batch[1].add(1)
        each = nn.functional.cross_entropy(model["head"](model["body"](batch[0])), batch[1], reduction="none")
        return (each * weight).sum() / weight.sum(), weight.sum()

    def body_loss(self, model: Any, batch: Any) -> Any:
        return nn.functional.cross_entropy(model["head"](model["body"](batch[0])), batch[1])

    def metrics(self, model: Any, batch: Any) -> Any:
        return {"loss": self.body_loss(model, batch)}

    def objectives(self, model: Any) -> Any:
        body = Minimize("body", ["body.*", "spare.*"], self.body_loss, plugins=[AdamW(lr=0.01), Clip(max_norm=0.3)])
        return [body, Minimize("head", model["head"], self.head_loss, every=2)]


class Unused(Points):
    def model(self) -> nn.Module:
        model = super().model()
        model.register_parameter("spare", nn.Parameter(torch.ones(3)))
        return model


def fit(
    plugins: list[Part], kind: type[Points] = Points, batch_size: int | None = 3, epochs: int = 2, stop: int = 0,
    device: str = "cpu", **settings: Any,
) -> dict[str, Any]:  # fmt: skip
    """What a run came to, on the CPU."""
    keeps = Keeps(stop=stop)
    trainer = kind(plugins=[*plugins, keeps], watch=(), batch_size=batch_size, epochs=epochs, seed=5, device=device, **settings)
    actual: dict[str, Any] = {"metrics": {}, "losses": keeps.losses}
    try:
        actual |= {"metrics": (result := trainer.fit()).metrics, "skipped": result.skipped, "samples": result.samples}
    except Stop:
        assert stop
    actual["weights"] = [param.detach().clone().cpu() for param in keeps.run.unwrapped_model.parameters()]
    return actual | {"first": keeps.first, "drawn": keeps.drawn, "seen": getattr(trainer, "seen", [])}


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    """How far two runs are apart, in weights, losses and metrics."""
    numbers = [abs(a - b) for a, b in zip(one["losses"], other["losses"], strict=True)]
    numbers += [abs(one["metrics"][name] - other["metrics"][name]) for name in one["metrics"]]
    numbers += [float((a - b).abs().max()) for a, b in zip(one["weights"], other["weights"], strict=True)]
    return max(numbers)


def windows(steps: int) -> list[Part]:
    """Accumulation over so many micro-batches."""
    return [Accumulate(steps=steps)] if steps > 1 else []


def refused(*args: Any, **settings: Any) -> str:
    """The sentence with which a run refuses."""
    try:
        fit(*args, **settings)
    except ConfigError as error:
        return str(error)
    return ""


def big_batches() -> list[tuple[int, int, torch.dtype, type[Part]]]:
    """Windows, samples, dtypes and optimisers: any two of them together, in 8 runs; in the long drills all of them, in 32."""
    every = list(product((1, 3), (19, 21, 23, 24), (torch.float32, torch.float64), (SGD, AdamW)))
    return every if LONG else [every[number] for number in BALANCED]


BALANCED = (0, 4, 9, 14, 19, 23, 26, 29)
"""Of the 32 runs, these 8 have any value of one setting beside any value of another."""


def case_one_process_on_the_big_batch(folder: Path) -> dict[str, float]:
    actual = {}
    for steps, samples, dtype, optim in big_batches():
        make = partial(SGD, lr=0.1, momentum=0.0) if optim is SGD else partial(AdamW, lr=0.01)
        kind = Words if samples in (21, 23) else Points
        outcome = fit([DDP(), make(), *windows(steps)], kind, samples=samples, dtype=dtype)
        big = fit([make(), *windows(steps)], kind, batch_size=6, samples=samples, dtype=dtype)
        actual[f"{optim.__name__} {dtype} accumulate={steps} samples={samples} {kind.__name__}"] = distance(outcome, big)
    return actual


def case_ranks_without_items(folder: Path) -> dict[str, tuple[float, int]]:
    """Distance to one process on the big batch, and the updates in which no rank had any."""
    actual = {}
    every = list(product((Labelled, LabelledOnDevice), ((1, 1), (3, 1), (1, 2))))
    for kind, (steps, size) in every if LONG else every[::2]:
        outcome = fit([DDP(), AdamW(lr=0.01), *windows(steps)], kind, batch_size=size)
        big = fit([AdamW(lr=0.01), *windows(steps)], kind, batch_size=2 * size)
        assert outcome["skipped"] == big["skipped"]
        actual[f"{kind.__name__} accumulate={steps} {size}"] = distance(outcome, big), big["skipped"]
    return actual


def case_loaders(folder: Path) -> dict[str, float]:
    big = fit([], batch_size=6)
    actual = {
        "workers": distance(fit([DDP(), Workers(count=2)], Sampled), big),
        "threads": distance(fit([DDP(), Threads(count=2)], Sampled), big),
        "prefetch": distance(fit([DDP(), Prefetch()], Sampled), big),
        "resident": distance(fit([DDP(), Resident()]), big),
        "stream": distance(fit([DDP()], Streaming), fit([], Streaming, batch_size=6)),
    }
    for kind in (Points, Sampled, Streaming):
        whole = fit([], kind, batch_size=6, drop_last=True)
        actual[f"drop_last {kind.__name__}"] = distance(fit([DDP()], kind, drop_last=True), whole) + abs(whole["samples"] - 36)
    one = fit([Accumulate(steps=2)], InBatches, batch_size=None)
    actual["counted"] = distance(fit([DDP()], Counted, batch_size=None), one)
    for samples in (21, 22, 24) if LONG else (22,):
        one = fit([Accumulate(steps=2)], InBatches, batch_size=None, samples=samples)
        actual[f"ready {samples}"] = distance(fit([DDP()], InBatches, batch_size=None, samples=samples), one)
    return actual


def case_a_guess(folder: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        fit([DDP()], Guessed, batch_size=None)
    return [str(warning.message) for warning in seen]


def case_an_order_of_the_users(folder: Path) -> list[int]:
    return fit([DDP()], Shuffled, batch_size=None)["seen"]


def case_beside_other_plugins(folder: Path) -> dict[str, Any]:
    sets = {
        "clip": lambda: [Clip(max_norm=0.1)],
        "clip adaptive": lambda: [Clip(mode="adaptive")],
        "ema": lambda: [EMA(decay=0.9)],
        "lamb": lambda: [LAMB(lr=0.01)],
        "lars": lambda: [LARS(lr=0.1)],
        "muon": lambda: [Muon()],
        "float16": lambda: [AMP(dtype="float16", force=True)],
        "bfloat16": lambda: [AMP(force=True)],
        "all": lambda: [
            Clip(), EMA(decay=0.9), AdamW(), Accumulate(steps=3), Cosine(), FiniteGuard(), AMP(dtype="float16", force=True),
        ],
    }  # fmt: skip
    actual = {}
    for name, plugins in sets.items():
        outcome = fit([DDP(), *plugins()])
        actual[name] = (distance(outcome, fit(plugins(), batch_size=6)), outcome["weights"])
    return actual


def case_settings(folder: Path) -> dict[str, Any]:
    sets = {
        "small buckets": DDP(bucket_mb=0.0001), "static": DDP(static_graph=True),
        "fp16": DDP(compress="fp16"), "gloo": DDP(backend="gloo"),
    }  # fmt: skip
    big, big3 = fit([], batch_size=6), fit([Accumulate(steps=3)], batch_size=6)
    actual = {name: distance(fit([ddp]), big) for name, ddp in sets.items()}
    actual |= {f"{name} 3": distance(fit([sets[name], Accumulate(steps=3)]), big3) for name in ("small buckets", "fp16")}
    actual["unused"] = distance(fit([DDP(find_unused=True)], Unused), fit([], Unused, batch_size=6))
    return actual


def case_refusals(folder: Path) -> dict[str, str]:
    return {
        "unused": refused([DDP()], Unused),
        "nccl": refused([DDP(backend="nccl")]),
        "few": refused([DDP()], samples=1),
        "static": refused([DDP(static_graph=True), Accumulate(steps=3)]),
        "bf16": refused([DDP(compress="bf16")]),
        "batchnorm": refused([DDP(sync_batchnorm=True)]),
    }


def case_several_objectives(folder: Path) -> dict[str, Any]:
    actual: dict[str, Any] = {}
    for steps, more in product((1, 3), ([], [FiniteGuard(), EMA(decay=0.9), AMP(dtype="float16", force=True)])):
        outcome = fit([DDP(), *windows(steps), *more], Two, samples=21)
        actual[f"{steps} {len(more)}"] = distance(outcome, fit([*windows(steps), *more], Two, batch_size=6, samples=21))
    out = folder / "objectives"
    fit([DDP()], Two, out=out, stop=3, checkpoint_every=1)
    pairs = zip(fit([DDP()], Two, resume=out)["weights"], fit([DDP()], Two)["weights"], strict=True)
    actual["resumed"] = all(torch.equal(a, b) for a, b in pairs)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        fit([DDP(compress="fp16")], Two)
    actual["warnings"] = [str(warning.message) for warning in seen]
    actual["refused"] = refused([DDP(static_graph=True)], Two)
    return actual


def case_one_rank_is_not_finite(folder: Path) -> dict[str, Any]:
    half = AMP(dtype="float16", force=True, init_scale=1024.0)
    return {
        "guard": fit([DDP(), FiniteGuard(), AdamW()], bad=3),
        "guard accumulate": fit([DDP(), FiniteGuard(), AdamW(), Accumulate(steps=3)], bad=4),
        "float16": fit([DDP(), half, AdamW(), EMA(decay=0.9)], bad=3),
    }


def case_random_numbers(folder: Path) -> dict[str, Any]:
    return fit([DDP()], dropout=0.5)


def case_the_first_bucket(folder: Path) -> list[bool]:
    actual = []
    for ddp in (DDP(), DDP(bucket_mb=5)):
        fit([ddp], epochs=1)
        assert ddp.ddp_model is not None
        actual.append(ddp.ddp_model.bucket_bytes_cap_default)
    return actual


def case_few_held_out(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    return fit([DDP()], held=1)["metrics"], fit([], held=1, batch_size=6)["metrics"]


def case_resumed(folder: Path) -> dict[str, Any]:
    plugins = lambda: [DDP(), AdamW(), EMA(decay=0.9), Accumulate(steps=2)]  # noqa: E731
    actual = {}
    for kind in (Points, Words):
        out = folder / kind.__name__
        whole = fit(plugins(), kind, dropout=0.3, epochs=3)
        fit(plugins(), kind, dropout=0.3, epochs=3, out=out, checkpoint_every=1, stop=3)
        actual[kind.__name__] = {"whole": whole, "rest": fit(plugins(), kind, dropout=0.3, epochs=3, resume=out)}
    return actual


def case_freeze_and_thaw(folder: Path) -> dict[str, Any]:
    """A run that thaws within an epoch, and one that does at its end, as one process makes them, and resumed around the thaw."""
    plugins = lambda: [DDP(), AdamW(lr=0.01), EMA(decay=0.9)]  # noqa: E731
    actual: dict[str, Any] = {"distance": [], "same": []}
    for until in (3, 4):
        settings: dict[str, Any] = {"freeze": [{"match": "[01].*", "until": until}], "checkpoint_every": 1, "checkpoint_keep": 99}
        whole = fit(plugins(), out=folder / str(until), **settings)
        big = fit([AdamW(lr=0.01), EMA(decay=0.9)], batch_size=6, freeze=settings["freeze"])
        actual["distance"].append(distance(whole, big))
        for step in range(until - 1, until + 2) if LONG else (until,):
            file = folder / str(until) / f"checkpoints/update-{step:08d}-epoch-{step // 4:04d}.pt"
            rest = fit(plugins(), resume=file, out=folder / f"{until}-{step}", **settings)
            equal = all(map(torch.equal, whole["weights"], rest["weights"]))
            actual["same"].append(equal and whole["losses"][step:] == rest["losses"])
    fit([DDP(), SGD(lr=0.1)], out=folder / "all", epochs=1)
    other = fit([DDP(), SGD(lr=0.1)], resume=folder / "all", out=folder / "other", freeze=["4.*"], allow=["freeze"])
    actual["frozen"] = torch.equal(other["weights"][4], other["first"][4]) and not torch.equal(
        other["weights"][0], other["first"][0]
    )
    return actual


def case_initial_weights(folder: Path) -> dict[str, Any]:
    """Weights that the first rank alone can read; and those that do not fit."""
    torch.manual_seed(0)
    state = {name: value + 1 for name, value in Points().model().state_dict().items()}
    file = folder / f"of-rank-{RANK}.pt"
    if RANK == 0:
        torch.save(state, file)
    outcome = fit([DDP(), SGD(lr=0.1)], init=str(file))
    refusal = refused([DDP()], init=str(file), init_rename={"0.*": "9.*"})
    return {"same": all(map(torch.equal, state.values(), outcome["first"])), "refusal": refusal}


class Asks(DDP):
    """Counts how often it waits for the other ranks' numbers."""

    times = 0

    def sum(self, number: Tensor) -> Tensor:
        self.times += 1
        return super().sum(number)


def case_numbers_that_are_waited_for(folder: Path) -> list[tuple[int, int]]:
    actual = []
    for kind, size in ((Points, 3), (Words, 3), (InBatches, None)):
        ddp = Asks()
        losses = fit([ddp], kind, size)["losses"]
        actual.append((len(losses), ddp.times))
    return actual


def case_two_one_two(folder: Path) -> list[Any]:
    return turns(folder, lambda: [DDP(), AdamW(lr=0.01)], {"without": lambda: [AdamW(lr=0.01)]})


def case_decisions(folder: Path) -> dict[str, Any]:
    ddp = DDP()
    ddp.join(torch.device("cpu"))
    actual = {
        "any": [ddp.any(RANK == 1), ddp.any(False)],
        "agree": [ddp.vote(turn == RANK) for turn in range(4)],
        "apart": [ddp.vote(True, topic="save"), ddp.vote(False), ddp.vote(False, topic="save")],
        "gather": ddp.gather({"rank": RANK}),
        "sum": float(ddp.sum(torch.tensor(RANK + 1.0))),
    }
    ddp.close()
    return actual


class Mortal(Points):
    """It is killed in the n-th attempt as the n-th word of KILLS says, `RANK:PLACE`: in its beginning, an update, or a save;
    or it halts in an update.

    What happens when is written down: one line for each kill, and for the first update after it.
    """

    def __init__(self, **run: Any) -> None:
        super().__init__(samples=46, dropout=0.2, **run)
        words = os.environ.get("KILLS", "").split()[int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) :][:1]
        rank, _, self.place = words[0].partition(":") if words and RANK >= 0 else ("-1", "", "")
        self.mine = int(rank) == RANK

    def model(self) -> nn.Module:
        if self.mine and self.place == "begin":
            self.die()
        return super().model()

    def loss(self, model: nn.Module, batch: Any) -> Any:
        if model.training and os.environ.get("GOES_ON") != str(os.getpid()):  # an attribute would come back with a checkpoint
            os.environ["GOES_ON"] = str(os.getpid())
            self.note("goes on")
        if self.mine and model.training:
            kind, _, number = self.place.partition("@")
            if self.calls == int(number or 5):
                if kind == "update":
                    self.die()
                if kind == "save":
                    os.fsync = lambda file: self.die()
                if kind == "halt":
                    self.halt()
        return super().loss(model, batch)

    def die(self) -> None:
        self.note("dies")
        os.kill(os.getpid(), signal.SIGKILL)

    def halt(self) -> None:
        """Waits for the file GO, once."""
        self.note("halts")
        while not os.path.exists(os.environ["GO"]):
            time.sleep(0.01)

    def note(self, what: str) -> None:
        if "NOTES" in os.environ:
            with open(os.environ["NOTES"], "a") as notes:
                notes.write(f"{time.time()} {RANK} {what}\n")


def case_never_killed(folder: Path) -> list[Tensor]:
    return fit([DDP(), AdamW(lr=0.01)], Mortal, epochs=3, batch_size=3, out=folder / "run", checkpoint_every=2)["weights"]


def case_what_one_says_all_hear_once(folder: Path) -> list[tuple[bool, bool]]:
    ranks = DDP()
    ranks.join(torch.device("cpu"))
    late, heard = False, []
    for step in range(7):
        late = late or (ranks.rank == 1 and step == 2)
        save = ranks.vote(late, topic="save")
        late = late and not save
        heard.append((save, ranks.vote(ranks.rank == 0 and step == 4)))
    ranks.close()
    return heard


def case_what_holds_the_group_is_let_go(folder: Path) -> list[str]:
    plugin = DDP()
    fit([plugin, SGD(lr=0.1)])
    return sorted({"logger", "reducer"} & vars(plugin.ddp_model).keys())


class Inner(nn.Module):
    """A model that a loss can use in many ways."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head, self.scale = (
            nn.Linear(6, 16),
            nn.BatchNorm1d(16),
            nn.Linear(16, 3),
            nn.Parameter(torch.ones(3)),
        )
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.body(x)).tanh()) * self.scale

    def features(self, x: Tensor) -> Tensor:
        return self.norm(self.body(x)).tanh()


USES: dict[str, Any] = {
    "call": lambda model, x: model(x),
    "attribute": lambda model, x: model(x) + 0 * model.calls,
    "method": lambda model, x: model.head(model.features(x)) * model.scale,
    "parts": lambda model, x: model.head(model.norm(model.body(x)).tanh()) * model.scale,
    "parameter": lambda model, x: model(x) / model.scale.detach() * model.scale,
    "parameter first": lambda model, x: (model.scale + 0).exp() / torch.e * model(x),
    "twice": lambda model, x: (model(x) + model(x.clone())) / 2,
}  # fmt: skip


class Using(Points):
    """A loss and metrics that use the model in a way of their own, and write on it."""

    def __init__(self, use: str = "", **run: Any) -> None:
        super().__init__(**run)
        self.use = use

    def model(self) -> nn.Module:
        return Inner()

    def loss(self, model: Any, batch: Any) -> Any:
        model.calls += 1
        return nn.functional.cross_entropy(USES[self.use](model, batch[0]), batch[1]), len(batch[1])


class UsingLayerNorm(Using):
    """The same, with a norm that bfloat16 goes with on a CPU."""

    def model(self) -> nn.Module:
        model = Inner()
        model.norm = nn.LayerNorm(16)  # type: ignore[assignment]
        return model


def case_what_a_loss_may_use(folder: Path) -> dict[str, list[Any]]:
    actual: dict[str, list[Any]] = {}
    for make in (DDP, *[lambda: DDP(find_unused=True)] * LONG, FSDP):
        for name in USES:
            outcome = fit([make(), SGD(lr=0.1)], Using, use=name, samples=24, epochs=1)
            actual.setdefault(name, []).append((outcome["losses"], outcome["metrics"]))
    narrow: dict[str, Any] = {"param_dtype": "bfloat16", "reduce_dtype": "float32"}
    for name in USES if LONG else list(USES)[:2]:
        outcome = fit([FSDP(**narrow), SGD(lr=0.1)], UsingLayerNorm, use=name, samples=24, epochs=1)
        big = fit([SGD(lr=0.1)], UsingLayerNorm, use=name, samples=24, batch_size=6, epochs=1)
        actual.setdefault("narrow", []).append((outcome["losses"], big["losses"]))
    actual["refused"] = [refused([FSDP(**narrow)], Using, use="call")]
    return actual


class SparseModel(Points):
    """A model with a sparse matrix: a buffer, which no rank can be sent, or an attribute."""

    is_buffer = True

    def model(self) -> nn.Module:
        model, matrix = super().model(), torch.eye(6).to_sparse()
        model.register_buffer("edges", matrix) if self.is_buffer else setattr(model, "edges", matrix)
        return model


class SparseAttribute(SparseModel):
    is_buffer = False


def case_sparse_tensors(folder: Path) -> str:
    fit([DDP(), SGD()], SparseAttribute)
    try:
        fit([DDP(), SGD()], SparseModel)
    except ConfigError as error:
        return str(error)
    return ""
