"""What two ranks do for test_shaped_ranks.py; see `tests.support.rank_processes`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accel import load
from accel.errors import ConfigError
from accel.parts import Part
from accel.plugins.adamw import AdamW
from accel.plugins.ddp import DDP
from accel.plugins.ema import EMA
from accel.plugins.fold_bn import FoldBN
from accel.plugins.fsdp import FSDP
from accel.plugins.lowbit import LowBit
from accel.plugins.qat import QAT
from accel.plugins.reparam import Reparam
from accel.plugins.sgd import SGD
from tests.support.drill_length import LONG
from tests.support.halved_layer import Halve
from tests.support.points_trainer import RANK, Keeps, Points, Stop


class Batches(Points):
    """Ready batches of small pictures, (4, 3, 6, 6) float32, each as often as there are ranks: all ranks see the same."""

    ranks = 2

    def model(self) -> nn.Module:
        first, second = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 3, padding=1)
        norms = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        return nn.Sequential(first, norms[0], nn.ReLU(), second, norms[1], nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))

    def data(self, split: str) -> Any:
        generator = torch.Generator().manual_seed(len(split))
        pictures = torch.randn(6, 4, 3, 6, 6, generator=generator)
        batches = [(each, each.mean((1, 2, 3)).gt(0).long()) for each in pictures]
        return [batch for batch in batches for _ in range(self.ranks)]


class Alone(Batches):
    """The same for one process."""

    ranks = 1


def fit(plugins: list[Part], kind: type[Points], stop: int = 0, **settings: Any) -> dict[str, Any]:
    keeps = Keeps(stop=stop)
    try:
        size = 3 if kind is Points else None
        result = kind(plugins=[*plugins, keeps], watch=(), batch_size=size, epochs=2, seed=5, **settings).fit()
    except Stop:
        return {}
    state: dict[str, Tensor] = {name: value.detach().clone() for name, value in result.model.state_dict().items()}
    return {"weights": state, "losses": keeps.losses, "metrics": result.metrics, "files": result.files}


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one["weights"].keys() == other["weights"].keys()
    gaps = [float((value - other["weights"][name]).abs().max()) for name, value in one["weights"].items()]
    return max(gaps + [abs(a - b) for a, b in zip(one["losses"], other["losses"], strict=True)])


def case_ddp_trains_branches(folder: Path) -> dict[str, Any]:
    both = fit([DDP(), Reparam(), AdamW(lr=0.01), EMA(decay=0.8)], Batches, out=folder / "run")
    alone = fit([Reparam(), AdamW(lr=0.01), EMA(decay=0.8)], Alone)
    return {"distance": distance(both, alone), "files": both["files"]}


def case_ddp_goes_on_with_branches(folder: Path) -> float:
    plugins = lambda: [DDP(), Reparam(kind="acnet"), AdamW(lr=0.01), EMA(decay=0.8)]  # noqa: E731
    whole = fit(plugins(), Batches)
    fit(plugins(), Batches, stop=4, out=folder / "run", checkpoint_every=1)
    resumed = fit(plugins(), Batches, out=folder / "run", resume="auto")
    return distance({**resumed, "losses": []}, {**whole, "losses": []})


def case_ddp_folds_norms(folder: Path) -> dict[str, Any]:
    both = fit([DDP(), FoldBN(), AdamW(lr=0.01), EMA(decay=0.8)], Batches, out=folder / "run")
    alone = fit([FoldBN(), AdamW(lr=0.01), EMA(decay=0.8)], Alone)
    shipped = load(folder / "run" / "shipped.safetensors", model=Batches().model()) if RANK == 0 else nn.Identity()
    norms = [module for module in shipped.modules() if isinstance(module, nn.BatchNorm2d)]
    return {"distance": distance(both, alone), "norms": len(norms), "metrics": (both["metrics"], alone["metrics"])}


def case_fsdp_trains_branches(folder: Path) -> dict[str, Any]:
    # of a bias before a norm the gradient is rounding alone, of which AdamW makes whole steps
    both = fit([FSDP(), Reparam(), SGD(lr=0.1)], Batches, out=folder / "run")
    alone = fit([Reparam(), SGD(lr=0.1)], Alone)
    whole = not any(hasattr(value, "full_tensor") for value in both["weights"].values())
    return {"distance": distance(both, alone) if whole else 0.0, "whole": whole, "files": both["files"]}


FEW_BITS = {"ternary": LowBit, "binary": lambda: LowBit(kind="bnn", layers=["3"], keep=[])}


class Signed(Batches):
    """The same without a ReLU before the second convolution, which may take signs."""

    def model(self) -> nn.Module:
        model: Any = super().model()
        model[2] = nn.Identity()
        return model  # type: ignore[no-any-return]


class SignedAlone(Signed):
    """The same for one process."""

    ranks = 1


def case_few_bits(folder: Path) -> dict[str, float]:
    """Distances of ranks to one process, and of a resumed run of ranks to a whole one."""
    gaps = {}
    for name, lowbit in FEW_BITS.items():
        alone = fit([lowbit(), SGD(lr=0.1)], SignedAlone)
        for parallel in (DDP, FSDP) if LONG or name == "ternary" else (DDP,):
            ranks = fit([parallel(), lowbit(), SGD(lr=0.1)], Signed)
            whole = not any(hasattr(value, "full_tensor") for value in ranks["weights"].values())
            gaps[f"{name} {parallel.__name__}"] = distance(ranks, alone) if whole else 0.0
        plugins = lambda: [DDP(), lowbit(), AdamW(lr=0.01), EMA(decay=0.8)]  # noqa: B023, E731
        whole = fit(plugins(), Signed)
        fit(plugins(), Signed, stop=4, out=folder / name, checkpoint_every=1)
        resumed = fit(plugins(), Signed, out=folder / name, resume="auto")
        gaps[f"{name} resumed"] = distance({**resumed, "losses": []}, {**whole, "losses": []})
    return gaps


def case_eight_bits(folder: Path) -> dict[str, float]:
    """The same of fake quantisation; a range is that of all ranks, which see different batches here."""
    gaps = {}
    alone = fit([QAT(freeze=8), SGD(lr=0.1)], Alone)
    for parallel in (DDP, FSDP) if LONG else (DDP,):
        ranks = fit([parallel(), QAT(freeze=8), SGD(lr=0.1)], Batches)
        whole = not any(hasattr(value, "full_tensor") for value in ranks["weights"].values())
        gaps[parallel.__name__] = distance(ranks, alone) if whole else 0.0
    plugins = lambda: [DDP(), QAT(begin=2, freeze=8), AdamW(lr=0.01), EMA(decay=0.8)]  # noqa: E731
    whole = fit(plugins(), Batches)
    for stop in (2, 5, 9) if LONG else (5,):  # in one process tests/plugins/test_qat.py resumes from every update
        fit(plugins(), Batches, stop=stop, out=folder / f"run{stop}", checkpoint_every=1)
        resumed = fit(plugins(), Batches, out=folder / f"run{stop}", resume="auto")
        gaps[f"resumed {stop}"] = distance({**resumed, "losses": []}, {**whole, "losses": []})
    both = fit([DDP(), QAT(freeze=6), SGD(lr=0.1)], Points)
    one = Points(plugins=[QAT(freeze=6), SGD(lr=0.1)], watch=(), batch_size=6, epochs=2, seed=5).fit()
    pairs = zip(both["weights"].values(), one.model.state_dict().values(), strict=True)
    gaps["other batches"] = max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
    return gaps


def case_ddp_follows_a_change(folder: Path) -> dict[str, float]:
    both = fit([DDP(), Halve(at=3), AdamW(lr=0.01), EMA(decay=0.8)], Points)
    alone = Points(plugins=[Halve(at=3), AdamW(lr=0.01), EMA(decay=0.8)], watch=(), batch_size=6, epochs=2, seed=5).fit()
    pairs = zip(both["weights"].values(), alone.model.state_dict().values(), strict=True)
    return {"distance": max(float((a - b).abs().max()) for a, b in pairs)}


def case_ddp_goes_on_after_a_change(folder: Path) -> float:
    plugins = lambda: [DDP(), Halve(at=3), AdamW(lr=0.01), EMA(decay=0.8)]  # noqa: E731
    whole = fit(plugins(), Points)
    gaps = []
    for stop in (3, 4):
        fit(plugins(), Points, stop=stop, out=folder / f"run{stop}", checkpoint_every=1)
        resumed = fit(plugins(), Points, out=folder / f"run{stop}", resume="auto")
        gaps.append(distance({**resumed, "losses": []}, {**whole, "losses": []}))
    return max(gaps)


def case_fsdp_refuses_a_change(folder: Path) -> str:
    try:
        fit([FSDP(), Halve(at=3)], Points)
    except ConfigError as error:
        return str(error)
    return ""
