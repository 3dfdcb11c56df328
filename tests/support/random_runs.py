"""Random runs, and what a careful engineer would write by hand for each of them, in plain torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from math import ceil, cos, isnan, nan, pi
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from accel.data.sampling import permutation
from accel.optim.hidden_matrices import hidden_matrices
from tests.support.defined_optimizers import DEFINED, ScheduleFree

FEATURES, CLASSES, SIDE = 12, 4, 4
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.05, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-3, "exclude": "none"},
    "adamw": {"lr": 3e-3, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.05, "exclude": "none"},
    "lamb": {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.02, "max_grad_norm": 1.0,
             "exclude": "norm_and_bias", "always_adapt": False, "trust_clip": False},
    "lars": {"lr": 1.0, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-3, "trust_coefficient": 0.02, "eps": 1e-8,
             "exclude": "norm_and_bias", "trust_clip": False},
    "muon": {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "adamw_lr": 2e-3, "beta1": 0.9, "beta2": 0.99,
             "eps": 1e-8, "exclude": "norm_and_bias", "ns_steps": 3, "ns_dtype": "float32"},
    "schedule_free": {"lr": 0.01, "base": "adamw", "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.02, "warmup": 0.0,
                      "exclude": "none"},
}  # fmt: skip
CHOICES: dict[str, dict[str, list[Any]]] = {
    "sgd": {"momentum": [0.0, 0.9], "nesterov": [False, True], "exclude": ["none", "norm_and_bias"]},
    "adamw": {"exclude": ["none", "norm_and_bias"], "beta1": [0.0, 0.9]},
    "lamb": {"max_grad_norm": [None, 0.3], "exclude": ["none", "norm_and_bias"], "trust_clip": [False, True],
             "weight_decay": [0.0, 0.02], "always_adapt": [False, True]},
    "lars": {"momentum": [0.0, 0.9], "nesterov": [False, True], "exclude": ["none", "norm_and_bias"], "trust_clip": [False, True]},
    "muon": {"nesterov": [False, True]},
    "schedule_free": {"base": ["adamw", "sgd"], "warmup": [0.0, 3.0]},
}  # fmt: skip
MODELS = ("mlp", "batchnorm", "convolution", "recurrent", "frozen", "tied")


@dataclass
class Case:
    """One run: everything that decides what it computes."""

    model: str
    optimizer: str
    settings: dict[str, Any]
    samples: int
    batch_size: int
    batches: list[int] | None
    """Sizes of ready batches; None for a data set of samples."""
    epochs: int
    window: int
    tokens: bool
    """Whether the loss is a mean over the labels that are not -1, and says how many there are."""
    blank: float
    """Share of the labels that are -1 then; where it is high, micro-batches and whole windows have no tokens."""
    count: str
    """How the loss says it then: an `int`, a `tensor`, or a tensor that is read like one of a `device`."""
    mean_of_nothing: float
    """Loss of a micro-batch without tokens: NaN, with gradients that are NaN, or 0."""
    schedule: tuple[str, dict[str, Any]] | None
    clip: tuple[str, float] | None
    ema: float | None
    guard: bool
    spoilt: list[int]
    """Indices of samples that make a loss that is not finite."""
    dtype: torch.dtype
    cast: torch.dtype | None
    loaders: list[str]
    seed: int

    @property
    def updates(self) -> int:
        batches = len(self.batches or range(0, self.samples, self.batch_size))
        return ceil(batches / self.window) * self.epochs

    @property
    def is_valid(self) -> bool:
        """Whether accel, or torch's own scheduler, takes the length of the schedule."""
        name, settings = self.schedule or ("", {})
        if name == "cosine":
            share = settings["warmup"]
            return round(share * self.updates if share < 1 else share) < self.updates
        return name != "onecycle" or settings["pct_start"] * self.updates != 1  # torch divides by zero


@st.composite
def cases(draw: Any, halves: bool = False) -> Case:
    """A random run; with `halves`, one in 16 bits, by autocast."""
    pick = lambda values: draw(st.sampled_from(values))  # noqa: E731
    optimizer = pick(list(OPTIMIZERS))
    settings = OPTIMIZERS[optimizer] | {name: pick(values) for name, values in CHOICES[optimizer].items()}
    if settings.get("momentum") == 0.0:
        settings["nesterov"] = False
    ready = draw(st.booleans())
    batches = draw(st.lists(st.integers(2, 7), min_size=1, max_size=6)) if ready else None
    batch_size = draw(st.integers(2, 8))
    samples = sum(batches) if batches else draw(st.integers(2, 25).filter(lambda n: n % batch_size != 1))
    schedules = {
        "cosine": {"warmup": pick([0.0, 0.3, 1.0]), "floor": pick([0.0, 0.1])},
        "onecycle": {"pct_start": pick([0.2, 0.5]), "anneal": pick(["cos", "linear"]), "max_lr": settings["lr"] * 1.5},
        "cyclic": {"step_size": pick([0.25, 2.0]), "mode": pick(["triangular", "triangular2", "exp_range"]), "gamma": 0.98},
    }
    schedule = None if optimizer == "schedule_free" else pick([None, *schedules])
    # statistics of two samples turn one rounded bit into another sign
    guard, model = draw(st.booleans()), pick([model for model in MODELS if model != "batchnorm" or not halves])
    clip = None if optimizer == "lamb" else pick([None, ("norm", 0.4), ("value", 0.02)])
    spoilt = draw(st.lists(st.integers(0, samples - 1), max_size=2)) if guard else []
    case = Case(
        model, optimizer, settings, samples, batch_size, batches, draw(st.integers(1, 3)),
        draw(st.integers(1, 4)), draw(st.booleans()), pick([0.3, 0.9]), pick(["int", "tensor", "device"]), pick([nan, 0.0]),
        None if schedule is None else (schedule, schedules[schedule]), clip,
        None if optimizer == "schedule_free" else pick([None, 0.9]), guard, spoilt, torch.float32 if halves else torch.float64,
        pick([torch.bfloat16, torch.float16]) if halves else None,
        [] if ready else pick([[], ["prefetch"], ["threads"], ["threads", "prefetch"]]), draw(st.integers(0, 9)),
    )  # fmt: skip
    assume(case.is_valid)
    return case


class OnDevice(Tensor):
    """A tensor on the CPU that is read no earlier than one of a device would be: nothing but a plain tensor is."""


class Net(nn.Module):
    """A small model of one of the kinds of `MODELS`."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, width = kind, 6
        self.body: nn.Module = nn.Linear(FEATURES, width)
        if kind == "convolution":
            self.body = nn.Sequential(nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 5, 2, padding=1), nn.Flatten(), nn.Linear(45, width))
        elif kind == "recurrent":
            self.body = nn.GRU(3, width, batch_first=True)
        elif kind == "batchnorm":
            self.body = nn.Sequential(
                nn.Linear(FEATURES, width, bias=False), nn.BatchNorm1d(width)
            )  # a bias' gradient would be rounding alone
        elif kind == "frozen":
            self.body = nn.Sequential(nn.Linear(FEATURES, 7), nn.Tanh(), nn.Linear(7, width))
            self.body[0].requires_grad_(False)  # type: ignore[index]
        elif kind == "tied":
            self.body = nn.Sequential(nn.Linear(FEATURES, width), nn.Tanh(), nn.Linear(width, width), nn.Linear(width, width))
            self.body[3].weight = self.body[2].weight  # type: ignore[index,union-attr]
        self.middle, self.head = nn.Linear(width, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x.unflatten(1, (4, 3)))[0][:, -1] if self.kind == "recurrent" else self.body(x)
        return self.head(torch.tanh(self.middle(out)))  # type: ignore[no-any-return]


def make_model(case: Case) -> nn.Module:
    return Net(case.model).to(case.dtype)


def make_data(case: Case, offset: int = 0) -> tuple[Tensor, Tensor]:
    """Samples, (n, FEATURES), and labels, (n,), of which some are -1 if the case counts tokens."""
    generator = torch.Generator().manual_seed(1000 + case.seed + offset)
    x = torch.randn(case.samples, FEATURES, generator=generator, dtype=torch.float64).to(case.dtype)
    y = torch.randint(0, CLASSES, (case.samples,), generator=generator)
    if case.tokens:
        y[torch.rand(case.samples, generator=generator) < case.blank] = -1
    if not offset:
        x[case.spoilt] = torch.inf
    return x, y


def loss(case: Case, model: nn.Module, batch: Any) -> Any:
    """The loss of a batch: a mean over its samples; with tokens, a mean over the labels that are not -1, and their number."""
    x, y = batch
    out = model(x).to(case.dtype)
    if not case.tokens:
        return F.cross_entropy(out, y)
    count = (y >= 0).sum()
    if isnan(case.mean_of_nothing):
        mean = F.cross_entropy(out, y, ignore_index=-1)
    else:
        mean = F.cross_entropy(out, y, ignore_index=-1, reduction="sum") / count.clamp(min=1)
    return mean, {"int": int, "tensor": Tensor.clone, "device": lambda number: number.as_subclass(OnDevice)}[case.count](count)


def epoch_batches(case: Case, data: tuple[Tensor, Tensor], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    if case.batches:
        yield from zip(data[0].split(case.batches), data[1].split(case.batches), strict=True)
        return
    for keys in permutation(case.samples, case.seed, epoch).split(case.batch_size):  # type: ignore[no-untyped-call]
        yield data[0][keys], data[1][keys]


def rates(case: Case, updates: int) -> list[float]:
    """The learning rate of each update."""
    lr = case.settings["lr"]
    if case.schedule is None:
        return [lr] * updates
    name, settings = case.schedule
    if name == "cosine":
        share, floor, last = settings["warmup"], settings["floor"] * lr, updates - 1
        warm = round(share * updates if share < 1 else share)
        climb = [lr * (step + 1) / (warm + 1) for step in range(warm)]
        fall = [floor + (lr - floor) * (1 + cos(pi * step / max(1, last - warm))) / 2 for step in range(updates - warm)]
        return [*[*climb, *fall][:last], floor]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    if name == "onecycle":
        scheduler: Any = OneCycleLR(
            optimizer, settings["max_lr"], total_steps=updates, pct_start=settings["pct_start"], cycle_momentum=False,
            anneal_strategy=settings["anneal"],
        )  # fmt: skip
    else:
        length = settings["step_size"]
        climb_updates = max(1, round(length * updates if length < 1 else length))
        scheduler = CyclicLR(
            optimizer, lr / 25, lr, step_size_up=climb_updates, mode=settings["mode"], gamma=settings["gamma"], cycle_momentum=False
        )
    values = []
    for step in range(updates):
        values.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if step < updates - 1:
            scheduler.step()
    return values


@dataclass
class Outcome:
    """What a run ends with."""

    weights: list[Tensor]
    """The weights that are handed out: averaged ones, where there are any."""
    losses: list[Tensor]
    metrics: float
    """The mean loss over the evaluation data."""
    buffers: list[Tensor]
    start: list[Tensor]


def by_hand(case: Case) -> Outcome:
    """Train as one would without accel."""
    torch.manual_seed(case.seed)
    model = make_model(case)
    trained = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    params, start = [param for _, param in trained], [param.detach().clone() for param in model.parameters()]
    settings = case.settings | {"matrices": hidden_matrices(model)}
    settings["warmup_updates"] = round(case.settings.get("warmup", 0))
    optimizer = DEFINED[case.optimizer](trained, settings)
    schedule, data = rates(case, case.updates), make_data(case)
    averages, scale, losses = [param.detach().clone() for param in params], 2.0**10, list[Tensor]()
    update = 0
    for epoch in range(case.epochs):
        model.train()
        batches = list(epoch_batches(case, data, epoch))
        for first in range(0, len(batches), case.window):
            window = batches[first : first + case.window]
            saved = [buffer.clone() for buffer in model.buffers()]
            mean = backward(case, model, window, scale if case.cast is torch.float16 else 1.0)
            losses.append(mean)
            grads = [torch.zeros_like(param) if param.grad is None else param.grad for param in params]
            model.zero_grad()
            is_empty = case.tokens and not any(int((y >= 0).sum()) for _, y in window)
            finite = bool(all(grad.isfinite().all() for grad in grads)) and (not case.guard or bool(mean.isfinite()))
            finite = finite and not is_empty
            with torch.no_grad():
                if finite or not (is_empty or case.guard or case.cast is torch.float16):
                    optimizer.step(clipped(case, grads), schedule[update])
                    decay = min(case.ema or 0.0, (1 + update) / (10 + update))  # as a schedule, it counts skipped updates too
                    averages = [average * decay + param * (1 - decay) for average, param in zip(averages, params, strict=True)]
                else:
                    scale *= 1.0 if is_empty else 0.5
                    if case.guard:
                        for buffer, before in zip(model.buffers(), saved, strict=True):
                            buffer.copy_(before)
            update += 1
    return Outcome(*hand_out(case, model, params, averages, optimizer, losses), start)


def backward(case: Case, model: nn.Module, window: list[tuple[Tensor, Tensor]], scale: float) -> Tensor:
    """Leave the gradients of a window's mean loss in the parameters, and return that mean."""
    counts = [int((y >= 0).sum()) if case.tokens else len(y) for _, y in window]
    total, mean = max(1, sum(counts)), torch.zeros((), dtype=case.dtype)
    for batch, count in zip(window, counts, strict=True):
        with torch.autocast("cpu", case.cast) if case.cast else nullcontext():
            out = loss(case, model, batch)
        value = out[0] if case.tokens else out
        if not count:
            continue  # nothing but the model's statistics moves by it
        (value * (count / total * scale)).backward()
        mean += value.detach() * (count / total)
    for param in model.parameters():
        if param.grad is not None:
            param.grad /= scale
    return mean


def clipped(case: Case, grads: list[Tensor]) -> list[Tensor]:
    if case.clip is None:
        return grads
    mode, limit = case.clip
    if mode == "value":
        return [grad.clamp(-limit, limit) for grad in grads]
    norm = float(torch.cat([grad.flatten() for grad in grads]).norm())
    return [grad * min(1.0, limit / (norm + 1e-6)) for grad in grads]


def hand_out(
    case: Case, model: nn.Module, params: list[nn.Parameter], averages: list[Tensor], optimizer: Any, losses: list[Tensor]
) -> tuple[list[Tensor], list[Tensor], float, list[Tensor]]:
    """Put the averaged weights into the model, evaluate it, and return weights, losses, the mean evaluation loss, and buffers."""
    if isinstance(optimizer, ScheduleFree):
        averages = optimizer.averaged()
    with torch.no_grad():
        if case.ema is not None or isinstance(optimizer, ScheduleFree):
            for param, average in zip(params, averages, strict=True):
                param.copy_(average)
        model.eval()
        held_out = make_data(case, offset=1)
        with torch.autocast("cpu", case.cast) if case.cast else nullcontext():
            out = loss(case, model, held_out)
    weights = [param.detach().clone() for param in model.parameters()]
    value = nan if case.tokens and not int((held_out[1] >= 0).sum()) else float(out[0] if case.tokens else out)
    return weights, losses, value, [buffer.clone() for buffer in model.buffers()]
