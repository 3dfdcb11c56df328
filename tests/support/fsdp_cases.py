"""What two ranks do for test_fsdp.py; see `tests.support.rank_processes`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard

from accel.checkpoints.sharded import load_sharded, save_sharded, split_sharded
from accel.checkpoints.snapshot import Snapshot
from accel.device.cuda.run_device import make_current
from accel.device.dtensor import local_shard
from accel.errors import ConfigError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.fsdp import FSDP
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.muon import Muon
from accel.plugins.optimizer import Optimizer
from accel.plugins.recompute import Recompute
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from tests.support.ddp_cases import Labelled, LabelledOnDevice, Two, Words, distance, windows
from tests.support.drill_length import LONG, times
from tests.support.points_trainer import Keeps, Points
from tests.support.rank_count_changes import turns


class Blocks(Points):
    """Two blocks, which FSDP gathers one after the other, and weights that are tied."""

    def model(self) -> nn.Module:
        first = nn.Linear(6, 16)
        return nn.Sequential(first, *(Block() for _ in range(2)), nn.Linear(16, 3)).to(self.dtype)


class Block(nn.Module):
    """y = x + W2 gelu(W1 norm(x)). A norm of one row, so that the second rank's share of it is empty."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 33), nn.Linear(33, 16)
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.gain * self.down(nn.functional.gelu(self.up(self.norm(x))))


def fit(
    plugins: list[Part], kind: type[Points] = Points, batch_size: int = 3, epochs: int | None = 2, device: str = "cpu",
    **settings: Any,
) -> dict[str, Any]:  # fmt: skip
    """What a run came to, with the weights that are handed out: whole and on the CPU on the first rank."""
    keeps = Keeps(stop=0)
    trainer = kind(plugins=[*plugins, keeps], watch=(), batch_size=batch_size, epochs=epochs, seed=5, device=device, **settings)
    result = trainer.fit()
    weights = [param.detach().clone().cpu() for param in result.model.parameters()]
    trains = all(param.requires_grad for param in result.model.parameters())
    return {"weights": weights, "losses": keeps.losses, "metrics": result.metrics, "skipped": result.skipped, "trains": trains}


SETS: dict[str, Callable[[], list[Part]]] = {
    "sgd": lambda: [SGD(lr=0.1)],
    "adamw, clip": lambda: [AdamW(lr=0.01), Clip(max_norm=0.1)],
    "adamw, clip by value": lambda: [AdamW(lr=0.01), Clip(mode="value", max_value=0.01)],
    "sgd, clip adaptive": lambda: [SGD(lr=0.1), Clip(mode="adaptive")],
    "lamb, ema": lambda: [LAMB(lr=0.01), EMA(decay=0.9)],
    "lars": lambda: [LARS(lr=0.1)],
    "schedule_free": lambda: [ScheduleFree(lr=0.01)],
    "adamw, finite_guard, recompute": lambda: [AdamW(lr=0.01), FiniteGuard(), Recompute()],
}


def big_batches() -> Iterator[tuple[str, int, type[Points]]]:
    """Yield plugins, windows and tasks: each set with one of both; in the long drills all of them."""
    for number, name in enumerate(SETS):
        for position, steps in enumerate((1, 3)):
            kinds: tuple[type[Points], ...] = (Blocks,) if "recompute" in name else (Blocks, Words)
            if not LONG and number % 2 != position:
                continue
            for kind in kinds if LONG else (kinds[number // 2 % len(kinds)],):
                yield name, steps, kind


def case_one_process_on_the_big_batch(folder: Path) -> dict[str, float]:
    actual = {}
    for name, steps, kind in big_batches():
        make, more = SETS[name], [Accumulate(steps=steps) for _ in range(2)] if steps > 1 else []
        outcome = fit([FSDP(), *make(), *more[:1]], kind, samples=22)
        big = fit([*make(), *more[1:]], kind, batch_size=6, samples=22)
        actual[f"{name} accumulate={steps} {kind.__name__}"] = whole(outcome, big)
    return actual


class Blank(Labelled, Blocks):
    """Blocks of which a rank may have no items."""


class BlankOnDevice(LabelledOnDevice, Blocks):
    """The same, and only the device knows."""


def case_ranks_without_items(folder: Path) -> dict[str, tuple[float, int]]:
    """Distance to one process on the big batch, and the updates in which no rank had any."""
    actual = {}
    for kind, steps in list(product((Blank, BlankOnDevice), (1, 3)))[:: times(3, 1)]:
        more = [Accumulate(steps=steps) for _ in range(2)] if steps > 1 else []
        outcome = fit([FSDP(), AdamW(lr=0.01), *more[:1]], kind, batch_size=1)
        big = fit([AdamW(lr=0.01), *more[1:]], kind, batch_size=2)
        assert outcome["skipped"] == big["skipped"]
        actual[f"{kind.__name__} accumulate={steps}"] = whole(outcome, big), big["skipped"]
    return actual


def case_goes_on_to_the_same_bits(folder: Path) -> dict[str, Any]:
    return goes_on(folder)


def goes_on(folder: Path, device: str = "cpu", **fsdp: Any) -> dict[str, Any]:
    """Saved after one epoch and taken up by two ranks, with the whole weights of each of three ways to get there."""

    def run(epochs: int, **settings: Any) -> dict[str, Any]:
        return fit([FSDP(**fsdp), AdamW(lr=0.01), EMA(), Accumulate(steps=2)], Blocks, epochs=epochs, device=device, **settings)

    run(1, out=folder / "run", checkpoint_every=2)
    two = run(2, out=folder / "two")
    again = run(2, resume=folder / "run", out=folder / "again")
    pieces = sorted(file.name for file in (folder / "run").rglob("shard-*"))
    outcome = {"pieces": pieces, "again": again["losses"], "two": two["losses"][-len(again["losses"]) :]}
    if not any(hasattr(weight, "full_tensor") for weight in two["weights"]):
        outcome["same"] = all(map(torch.equal, two["weights"], again["weights"]))
        outcome["weights"] = two["weights"]
    return outcome


def case_freeze_and_thaw(folder: Path) -> dict[str, Any]:
    """A block of its own group and some outside of all, as one process thaws them, and resumed around the thaw."""
    plugins = lambda: [FSDP(), AdamW(lr=0.01), EMA(decay=0.9)]  # noqa: E731
    settings: dict[str, Any] = {"freeze": [{"match": "[01].*", "until": 3}], "checkpoint_every": 1, "checkpoint_keep": 99}
    outcome = fit(plugins(), Blocks, out=folder / "whole", **settings)
    big = fit([AdamW(lr=0.01), EMA(decay=0.9)], Blocks, batch_size=6, freeze=settings["freeze"])
    actual: dict[str, Any] = {"distance": whole(outcome, big), "same": [outcome["trains"]]}
    for step in range(2, 5) if LONG else (3,):
        file = folder / f"whole/checkpoints/update-{step:08d}-epoch-{step // 4:04d}.pt"
        rest = fit(plugins(), Blocks, resume=file, out=folder / str(step), **settings)
        if not any(hasattr(weight, "full_tensor") for weight in rest["weights"]):
            actual["same"].append(all(map(torch.equal, outcome["weights"], rest["weights"])))
        actual["same"].append(outcome["losses"][step:] == rest["losses"])
    return actual


def case_a_snapshot_of_what_is_spread(folder: Path) -> dict[str, Any]:
    return snapshots(folder)


ROWS = torch.arange(28.0).view(7, 4).add(1).tolist()
SAVED = {"cut": ROWS, "row": ROWS[:1], "kept": ROWS[:2], "tied": ROWS}
"""What `snapshots` saves at last."""


def snapshots(folder: Path, device: str = "cpu", **fsdp: Any) -> dict[str, Any]:
    """Of weights, of which the second rank has nothing of one: taken twice, moved in between, and saved."""
    ranks = FSDP(**fsdp)
    place = make_current(ranks.join(torch.device(device)))  # it is this rank's device that is kept behind
    world: Any = torch.distributed.group.WORLD
    mesh, snapshot = DeviceMesh.from_group(world, place.type), Snapshot(place)
    live = {
        name: spread_over(mesh, torch.arange(4.0 * rows, device=place).view(rows, 4), kind)
        for name, rows, kind in (("cut", 7, Shard(0)), ("row", 1, Shard(0)), ("kept", 2, Replicate()))
    }  # fmt: skip
    live["tied"] = live["cut"]

    def take() -> tuple[dict[str, Any], bool]:
        """What is taken, while the device is behind; and whether the host went on before the copies were made."""
        if place.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda._sleep(200_000_000)
        taken = snapshot.take(live)
        ahead = snapshot.event is None or not snapshot.event.query()
        for name in ("cut", "row", "kept"):
            local_shard(live[name]).add_(1)
        snapshot.wait()
        return taken, ahead

    layouts = [(one.shape, one.stride(), one.placements, one.device_mesh) for one in live.values()]  # type: ignore[attr-defined]
    before = {name: local_shard(tensor).clone().cpu() for name, tensor in live.items()}
    first, _ = take()  # allocates
    actual: dict[str, Any] = {
        "as it was": all(torch.equal(local_shard(first[name]), before[name]) for name in live),
        "layout": layouts == [(one.shape, one.stride(), one.placements, one.device_mesh) for one in first.values()],
    }
    places = [local_shard(tensor).data_ptr() for tensor in first.values()]
    again, actual["ahead"] = take()
    actual["memory"] = places == [local_shard(tensor).data_ptr() for tensor in again.values()]
    actual["on the host"] = all(local_shard(tensor).device.type == "cpu" for tensor in again.values())
    actual["written apart"] = places[0] != places[3]
    actual["apart"] = not (set(places) - {0}) & {local_shard(tensor).data_ptr() for tensor in live.values()}
    rest, pieces = split_sharded(again)
    save_sharded(pieces, folder / "pieces", ranks.host)
    ranks.any(False)
    actual["saved"] = {name: tensor.tolist() for name, tensor in load_sharded(rest, folder / "pieces").items()}
    ranks.close()
    return actual


def spread_over(mesh: DeviceMesh, whole: torch.Tensor, kind: Any) -> torch.Tensor:
    """The same, of which each rank has what belongs to it."""
    piece = whole
    if kind.is_shard():
        most = -(-len(whole) // mesh.size())
        piece = whole[mesh.get_rank() * most :][:most].clone()
    actual: torch.Tensor = DTensor.from_local(piece, mesh, [kind], run_check=False, shape=whole.shape, stride=whole.stride())
    return actual


def case_two_one_two(folder: Path) -> list[Any]:
    alone = {"with": lambda: [FSDP(), AdamW(lr=0.01), EMA()], "without": lambda: [AdamW(lr=0.01), EMA()]}
    return turns(folder, lambda: [FSDP(), AdamW(lr=0.01), EMA()], alone, Blocks)


def whole(outcome: dict[str, Any], big: dict[str, Any]) -> float:
    """How far they are apart; the weights are whole on the first rank alone."""
    if any(hasattr(weight, "full_tensor") for weight in outcome["weights"]):
        outcome = {**outcome, "weights": big["weights"]}
    return distance(outcome, big)


class TwoBlocks(Two):
    """Body and head with losses of their own; the body has blocks, which are gathered one after the other."""

    def model(self) -> nn.Module:
        body = nn.Sequential(nn.Linear(6, 16), Block(), Block())
        return nn.ModuleDict({"body": body, "head": nn.Linear(16, 3), "spare": nn.Linear(2, 2)}).to(self.dtype)


def case_several_objectives(folder: Path) -> dict[str, Any]:
    actual: dict[str, Any] = {}
    every = list(product((1, 3), ([], [FiniteGuard(), EMA(decay=0.9), AMP(dtype="float16", force=True)])))
    for steps, more in every[:: times(3, 1)]:
        settings: dict[str, Any] = {"samples": 21, "dtype": torch.float32 if more else torch.float64}
        outcome = fit([FSDP(), *windows(steps), *more], TwoBlocks, **settings)
        actual[f"{steps} {len(more)}"] = whole(outcome, fit([*windows(steps), *more], TwoBlocks, batch_size=6, **settings))
    settings = {"kind": TwoBlocks, "epochs": None}
    complete = fit([FSDP()], updates=7, **settings)
    fit([FSDP()], updates=3, out=folder / "run", **settings)
    rest = fit([FSDP()], updates=7, resume=folder / "run", **settings)
    is_whole = not any(hasattr(weight, "full_tensor") for weight in rest["weights"])
    same = is_whole and all(map(torch.equal, complete["weights"], rest["weights"]))
    return actual | {"losses": complete["losses"][3:] == rest["losses"], "weights": (is_whole, same)}


class Poisoned(Blocks):
    """The loss of the second rank is not finite in one update."""

    def loss(self, model: nn.Module, batch: Any) -> Any:
        loss = super().loss(model, batch)
        wrong = bool((batch[0] == self.data("train").tensors[0][7]).all(1).any())
        return loss * float("nan") if wrong else loss


class Buffered(Blocks):
    """Its BatchNorm follows the samples of its own rank, and is evaluated as the first rank has it."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Linear(16, 3))


class Tied(Points):
    """Its first and last weights are one."""

    def model(self) -> nn.Module:
        first, last = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        last.weight = first.weight
        return nn.Sequential(first, nn.Tanh(), last)


class Sparse(Points):
    """An embedding whose gradients are sparse."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Embedding(5, 6, sparse=True), nn.Linear(6, 3))


class Mixed(Points):
    """Weights of two dtypes."""

    def model(self) -> nn.Module:
        model = super().model()
        model[1].double()
        return model


def case_a_skipped_update_is_skipped_by_all(folder: Path) -> dict[str, Any]:
    actual = fit([FSDP(), SGD(lr=0.1), FiniteGuard(), EMA()], Poisoned)
    return {"losses": actual["losses"], "skipped": actual["skipped"]}


def case_overflows_of_float16(folder: Path) -> dict[str, Any]:
    def scaled() -> list[Part]:
        return [SGD(lr=0.1), AMP(dtype="float16", force=True, init_scale=2.0**20, growth_interval=3), EMA()]

    outcome, big = fit([FSDP(), *scaled()], Blocks), fit(scaled(), Blocks, batch_size=6)
    return {"skipped": [one["skipped"] for one in (outcome, big)], "apart": whole(outcome, big)}


def case_bfloat16(folder: Path) -> dict[str, Any]:
    big = fit([SGD(lr=0.1), AMP()], Blocks, batch_size=6)
    actual = {
        "amp": [FSDP(), SGD(lr=0.1), AMP()],
        "param_dtype": [FSDP(param_dtype="bfloat16", reduce_dtype="float32"), SGD(lr=0.1)],
    }
    return {name: whole(fit(plugins, Blocks), big) for name, plugins in actual.items()}


def case_buffers_are_those_of_the_first_rank(folder: Path) -> Any:
    actual = fit([FSDP(), SGD(lr=0.1)], Buffered)
    return actual["metrics"]


def case_tied_weights_stay_tied(folder: Path) -> Any:
    settings: dict[str, Any] = {"watch": (), "epochs": 2, "seed": 5, "device": "cpu"}
    model = Tied(plugins=[FSDP(), SGD(lr=0.1)], batch_size=3, **settings).fit().model
    big = Tied(plugins=[SGD(lr=0.1)], batch_size=6, **settings).fit().model
    whole = not hasattr(model[0].weight, "full_tensor")  # type: ignore[index]
    apart = float((model[0].weight - big[0].weight).detach().abs().max()) if whole else None  # type: ignore[index, operator]
    return whole, model[0].weight is model[2].weight, apart  # type: ignore[index]


def case_refused(folder: Path) -> list[str]:
    message = []
    for plugins, kind in (([Muon()], Blocks), ([], Mixed), ([], Sparse)):
        try:
            fit([FSDP(), *plugins], kind)
        except ConfigError as error:
            message.append(str(error))
    return message


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
    fit([FSDP(), SGD()], SparseAttribute)
    try:
        fit([FSDP(), SGD()], SparseModel)
    except ConfigError as error:
        return str(error)
    return ""


class LocalNorm(torch.optim.SGD):
    """An optimiser that takes the norm of a shard for that of the whole gradient."""

    def step(self, closure: Any = None) -> Any:
        for param in (param for group in self.param_groups for param in group["params"] if param.grad is not None):
            local_shard(param.grad).div_(local_shard(param.grad).norm() + 1e-6)
        return super().step(closure)


class Noisy(torch.optim.SGD):
    """An optimiser that draws random numbers."""

    def step(self, closure: Any = None) -> Any:
        torch.rand(1)
        return super().step(closure)


def case_optimizers_of_torch(folder: Path) -> dict[str, Any]:
    """The distance to one process of those that can share a model, and the sentence about the others."""
    actual: dict[str, Any] = {}
    for target in (torch.optim.RAdam, torch.optim.Adafactor, LocalNorm, Noisy):
        try:
            sharded = fit([FSDP(), Optimizer(target, lr=0.01)], Blocks)
            actual[target.__name__] = whole(sharded, fit([Optimizer(target, lr=0.01)], Blocks, batch_size=6))
        except ConfigError as error:
            actual[target.__name__] = str(error)
    return actual
