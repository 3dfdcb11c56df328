"""Random runs: model, data, settings and plugins are drawn. `tests.support.handwritten_runs` makes each by hand."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import ceil, nan
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import nn

from tests.support.handwritten_schedules import fits
from tests.support.random_tasks import MODELS, make_model

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
PATTERNS = ("body.*", "middle.*", "head.*", "*.bias", "middle.weight", "*")
"""Each matches some parameter of every model; the last matches all."""
GROUPS: dict[str, dict[str, list[float]]] = {
    "sgd": {"momentum": [0.5]}, "adamw": {"beta1": [0.5], "beta2": [0.9], "eps": [1e-6]}, "lamb": {"beta1": [0.5]},
    "lars": {"momentum": [0.5]}, "muon": {}, "schedule_free": {},
}  # fmt: skip
"""What a group may set besides its rate and its weight decay."""


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
    length: dict[str, float]
    """The setting that ends the run: `epochs`, a fraction too, `updates` or `max_samples`."""
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
    average: dict[str, Any] | None
    """Settings of the plugin `average`."""
    groups: list[dict[str, Any]]
    layer_decay: float
    freeze: list[dict[str, Any]]
    evaluate_every: int | None
    """Updates between two evaluations, which change nothing."""
    scalars: bool
    """Whether the loss logs numbers."""
    guard: bool
    spoilt: list[int]
    """Indices of samples that make a loss that is not finite."""
    dtype: torch.dtype
    cast: torch.dtype | None
    loaders: list[str]
    seed: int

    @property
    def sizes(self) -> list[int]:
        """The samples in each batch of an epoch."""
        firsts = range(0, self.samples, self.batch_size)
        return self.batches or [min(self.batch_size, self.samples - first) for first in firsts]

    @property
    def updates_per_epoch(self) -> int:
        return ceil(len(self.sizes) / self.window)

    @property
    def updates(self) -> int:
        """The updates of the whole run."""
        if "updates" in self.length:
            return int(self.length["updates"])
        if "epochs" in self.length:
            return ceil(self.length["epochs"] * self.updates_per_epoch)
        left, update = self.length["max_samples"], 0
        while left > 0:  # a whole update takes a window, and the last one of an epoch what is left of it
            first = update % self.updates_per_epoch * self.window
            left -= sum(self.sizes[first : first + self.window])
            update += 1
        return update

    @property
    def snapshots(self) -> list[int]:
        """The updates, from 1, after which `average` takes a snapshot."""
        if self.average is None:
            return []
        start, every = self.average["start"], self.average["every"] or self.updates_per_epoch
        before = round(start * self.updates if start < 1 else start)
        return [update for update in range(every, self.updates + 1, every) if update > before]

    def thaws(self) -> list[int | None]:
        """The update after which each rule of `freeze` thaws what it has frozen; None for never."""
        ends = [rule.get("until") for rule in self.freeze]
        return [None if end is None else max(1, round(end * self.updates)) if end < 1 else int(end) for end in ends]

    @property
    def is_valid(self) -> bool:
        """Whether accel takes the lengths in it, and every rule of `freeze` freezes something and leaves something."""
        name, settings = self.schedule or ("constant", {"warmup": 0.0})
        if not fits(name, settings, self.updates) or (self.average is not None and not self.snapshots):
            return False
        rules = list(first_rules(make_model(self), [rule["match"] for rule in self.freeze], trained=True).values())
        has_rest = None in rules or not self.freeze
        ends = [end for end in self.thaws() if end is not None]
        return has_rest and set(rules) >= set(range(len(self.freeze))) and max(ends, default=0) < self.updates


def first_rules(model: nn.Module, patterns: list[str], trained: bool = False) -> dict[str, int | None]:
    """The place of the first pattern that matches each parameter by any of its names, shell globs; None for none.

    Args:
        model: the model.
        patterns: the patterns.
        trained: whether parameters that need no gradient are left out.
    """
    names: dict[int, list[str]] = {}
    for name, param in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(param), []).append(name)
    rules: dict[str, int | None] = {}
    for name, param in model.named_parameters():
        hits = (place for place, pattern in enumerate(patterns) if any(fnmatchcase(one, pattern) for one in names[id(param)]))
        if param.requires_grad or not trained:
            rules[name] = next(hits, None)
    return rules


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
    warmup, floor = pick([0.0, 0.3, 1.0]), pick([0.0, 0.1])
    schedules: dict[str, dict[str, Any]] = {
        "linear": {"warmup": warmup, "floor": floor},
        "wsd": {"warmup": warmup, "decay": pick([0.4, 2.0]), "shape": pick(["sqrt", "linear", "cosine"]), "floor": floor},
        "step": {"warmup": warmup, "step_size": pick([0.4, 2.0]), "milestones": pick([None, [1.0, 2.0], [0.5]]), "gamma": 0.5},
        "polynomial": {"warmup": warmup, "power": pick([0.9, 2.0]), "floor": floor},
        "constant": {"warmup": warmup},
        "cosine": {"warmup": warmup, "floor": floor},
        "onecycle": {"pct_start": pick([0.2, 0.5]), "anneal": pick(["cos", "linear"]), "max_lr": settings["lr"] * 1.5},
        "cyclic": {"step_size": pick([0.25, 2.0]), "mode": pick(["triangular", "triangular2", "exp_range"]), "gamma": 0.98},
    }
    schedule = None if optimizer == "schedule_free" else pick([None, *schedules])
    # statistics of two samples turn one rounded bit into another sign
    guard, model = draw(st.booleans()), pick([model for model in MODELS if model != "batchnorm" or not halves])
    clip = None if optimizer == "lamb" else pick([None, ("norm", 0.4), ("value", 0.02)])
    spoilt = draw(st.lists(st.integers(0, samples - 1), max_size=2)) if guard else []
    mean = "" if optimizer == "schedule_free" else pick(["", "ema", "average"])
    average = {"last": pick([1, 2, 4, None]), "every": pick([None, 1, 2, 3]), "start": pick([0.0, 0.0, 0.4, 2.0])}
    average["batch_norm"] = 0 if spoilt else pick([0, 2, None])  # nothing is left of statistics of what is not finite
    case = Case(
        model, optimizer, settings, samples, batch_size, batches, draw(lengths(samples, ready)),
        draw(st.integers(1, 4)), draw(st.booleans()), pick([0.3, 0.9]), pick(["int", "tensor", "device"]), pick([nan, 0.0]),
        None if schedule is None else (schedule, schedules[schedule]), clip,
        0.9 if mean == "ema" else None, average if mean == "average" else None, draw(groups(optimizer, settings)),
        pick([1.0, 0.7]) if model == "blocks" else 1.0, draw(freezes(optimizer)), pick([None, 1, 2, 3]), draw(st.booleans()),
        guard, spoilt, torch.float32 if halves else torch.float64,
        pick([torch.bfloat16, torch.float16]) if halves else None,
        [] if ready else pick([[], ["prefetch"], ["threads"], ["threads", "prefetch"]]), draw(st.integers(0, 9)),
    )  # fmt: skip
    case.evaluate_every = case.evaluate_every and min(case.evaluate_every, case.updates)
    assume(case.is_valid)
    return case


@st.composite
def lengths(draw: Any, samples: int, ready: bool) -> dict[str, float]:
    """What ends a run."""
    kinds = ["epochs", "updates", *([] if ready else ["max_samples"])]  # of ready batches nobody knows the samples before
    kind = draw(st.sampled_from(kinds))
    if kind == "epochs":
        return {kind: draw(st.sampled_from([1, 2, 3, 0.5, 1.25, 2.6]))}
    return {kind: draw(st.integers(1, 12) if kind == "updates" else st.integers(1, 3 * samples))}


@st.composite
def groups(draw: Any, optimizer: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Settings of some parameters."""
    values = {
        "lr": [0.3 * settings["lr"], 2.0 * settings["lr"]], "lr_scale": [0.5, 1.5], "weight_decay": [0.0, 0.1],
        "weight_decay_scale": [3.0], **GROUPS[optimizer],
    }  # fmt: skip
    if settings.get("base") == "adamw":
        values["beta2"] = [0.9]
    rules = []
    for pattern in draw(st.lists(st.sampled_from(PATTERNS), max_size=2, unique=True)):
        names = draw(st.lists(st.sampled_from(list(values)), min_size=1, max_size=2, unique=True))
        chosen = {name: draw(st.sampled_from(values[name])) for name in names if f"{name}_scale" not in names}
        rules.append({"match": pattern, **chosen})
    return rules


@st.composite
def freezes(draw: Any, optimizer: str) -> list[dict[str, Any]]:
    """What is frozen, for the whole run or until an update. What joins an average of schedule_free has no definition of its own."""
    ends = [None] if optimizer == "schedule_free" else [None, 0.4, 1, 3]
    patterns = draw(st.lists(st.sampled_from(PATTERNS[:-1]), max_size=2, unique=True))
    rules = [{"match": pattern, "until": draw(st.sampled_from(ends))} for pattern in patterns]
    return [{name: value for name, value in rule.items() if value is not None} for rule in rules]
