"""A misspelt argument is one sentence with the right name, whatever is called: a run, a plugin, a task, a command's function."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any

import pytest
from torch import nn

import accel
from accel import Trainer
from accel.errors import ConfigError
from accel.parts import Part, Watch
from accel.plugins import AMP, AdamW, OneCycle
from accel.schema import plugin_registry
from accel.system.calls.call_arguments import check_arguments
from accel.tasks.digits import Digits
from accel.testing.toy_run import Toy


class Wide(Trainer):
    def __init__(self, width: int = 2, **run: Any) -> None:
        super().__init__(**run)


class Own(Trainer):
    """A task that takes what it wants out of its keywords itself."""

    def __init__(self, **run: Any) -> None:
        self.depth = run.pop("depth", 1)
        super().__init__(**run)


@dataclass(eq=False)
class Needy(Watch):
    every: int


REFUSED: dict[str, Callable[[], Any]] = {
    "update is no argument of Trainer; did you mean 'updates'?": lambda: Trainer(update=5),  # type: ignore[call-arg]
    "widht is no argument of Wide; did you mean 'width'?": lambda: Wide(widht=3),
    "epoch is no argument of Wide; did you mean 'epochs'?": lambda: Wide(epoch=3),
    "epoch is no argument of Digits; did you mean 'epochs'?": lambda: Digits(epoch=3),
    "Trainer takes 5 arguments by place, and 6 were given; write the others by name, such as collate=...": (
        lambda: Trainer(None, None, None, None, None, None)  # type: ignore[misc]
    ),
    "Trainer is given model twice, by place and by name; keep one": lambda: Trainer(None, model=None),  # type: ignore[misc]
    "dtyp is no argument of AMP; did you mean 'dtype'?": lambda: AMP(dtyp="float16"),  # type: ignore[call-arg]
    "max_lrs is no argument of OneCycle; did you mean 'max_lr'?": lambda: OneCycle(max_lrs=1),  # type: ignore[call-arg]
    "Needy needs every: Needy(every=...)": lambda: Toy(plugins=[NEEDY], watch=()).fit(),
    "fit() takes no arguments; give them to Digits(...)": lambda: Digits().fit(epochs=3),  # type: ignore[call-arg]
    "weight is no argument of load; did you mean 'weights'?": lambda: accel.load("run", weight="best"),  # type: ignore[call-arg]
    "second is no argument of doctor; did you mean 'seconds'?": lambda: accel.doctor(Digits(), second=1),  # type: ignore[call-arg]
    "seed is no argument of ablate; did you mean 'seeds'?": lambda: accel.ablate(Digits(), seed=1),  # type: ignore[call-arg]
    "batches is no argument of advise; did you mean 'batch'?": (
        lambda: accel.advise(nn.Linear(1, 1), batches=1)  # type: ignore[call-arg]
    ),
    "advise needs batch: advise(batch=...)": lambda: accel.advise(nn.Linear(1, 1)),  # type: ignore[call-arg]
    "outt is no argument of report; did you mean 'out'?": lambda: accel.report("run", outt="x"),  # type: ignore[call-arg]
    "config is no argument of compose; did you mean 'config_dir'?": lambda: accel.compose([], config="x"),  # type: ignore[call-arg]
}
NEEDY = "needy"


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_misspelt_argument_is_a_sentence(sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load = plugin_registry.load
    monkeypatch.setattr(plugin_registry, "load", lambda name, on=(): Needy if name == NEEDY else load(name, on))
    with pytest.raises(ConfigError) as refusal:
        REFUSED[sentence]()
    assert str(refusal.value) == sentence


class Unmade(Trainer):
    def __init__(self) -> None:
        """Forget what is above it."""


GIVEN: dict[str, Callable[[], Any]] = {
    "doctor takes an accel.Trainer, not a Linear": lambda: accel.doctor(nn.Linear(1, 1)),  # type: ignore[arg-type]
    "ablate takes an accel.Trainer, not a str": lambda: accel.ablate("run"),  # type: ignore[arg-type]
    "doctor takes an accel.Trainer, not the class Digits; make one: Digits(...)": (
        lambda: accel.doctor(Digits)  # type: ignore[arg-type]
    ),
    "Unmade.__init__ must call super().__init__(**run)": lambda: accel.doctor(Unmade()),
    "model must be a torch.nn.Module, not Digits": lambda: accel.advise(Digits(), 1),  # type: ignore[arg-type]
    **{
        f"{name} of Trainer is a int; give a function": (lambda name=name: accel.Trainer(nn.Linear(1, 1), [], **{name: 3}))
        for name in ("loss", "metrics", "collate", "collate_fn", "count_samples")
    },
    "a report takes run directories, not a Digits; name the folder, such as result.out": lambda: accel.report(Digits()),
}


@pytest.mark.parametrize("sentence", GIVEN)
def test_what_is_given_by_mistake_is_a_sentence(sentence: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        GIVEN[sentence]()
    assert str(refusal.value) == sentence
    with pytest.raises(ConfigError, match=r"^Unmade.__init__ must call super"):
        accel.ablate(Unmade())


@pytest.mark.parametrize("name", plugin_registry.targets())
def test_every_plugin_names_what_it_takes(name: str) -> None:
    cls = plugin_registry.load(name)
    settings = [field.name for field in fields(cls) if field.init]
    with pytest.raises(
        ConfigError, match=f"^nosuch is no argument of {cls.__name__}; it takes {settings[0] if settings else 'none'}"
    ):
        cls(nosuch=1)  # type: ignore[call-arg]
    for setting in settings:
        with pytest.raises(ConfigError, match=f"^{setting}x is no argument of {cls.__name__}; did you mean '"):
            cls(**{f"{setting}x": 1})


def test_what_a_class_takes_itself_is_its_own() -> None:
    assert Own(depth=3, epochs=2).depth == 3
    with pytest.raises(ConfigError, match="dept is no argument of Own"):
        Own(dept=3)


def test_plugins_are_copied_and_sent_as_ever() -> None:
    for plugin in (AdamW(lr=0.5), Needy(every=3)):
        for made in (copy.copy(plugin), copy.deepcopy(plugin), pickle.loads(pickle.dumps(plugin))):
            assert isinstance(made, Part)
            assert made.settings == plugin.settings


def test_help_still_has_the_arguments() -> None:
    assert next(iter(signature(AdamW).parameters)) == "lr"
    assert "max_seconds" in signature(Trainer.__init__).parameters
    assert next(iter(signature(accel.load).parameters)) == "path"


def test_a_call_that_can_be_passes() -> None:
    check_arguments("f", signature(lambda a, /, b, *rest, c=1, **more: None), (1, 2, 3, 4), {"c": 5, "d": 6})
