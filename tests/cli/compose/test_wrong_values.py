"""Settings of a wrong kind and half-written ones: one sentence, the same on the command line and in Python."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

import accel
from accel import Trainer
from accel.errors import ConfigError
from accel.plugins import EarlyStop, Plateau

NUMBERS = (
    "epochs", "updates", "max_samples", "max_tokens", "max_seconds", "batch_size", "seed", "bad_limit", "evaluate_every",
    "evaluate_epochs", "evaluate_batches", "checkpoint_every", "checkpoint_epochs", "checkpoint_minutes", "checkpoint_keep",
)  # fmt: skip
"""Settings of a run that are numbers, by their names in Python."""
NO_NUMBERS: dict[str, Any] = {
    "true": True, "false": False, "x": "x", "": "", "[1]": [1], "-1": -1, "nan": nan, "inf": inf, "2,3": "2,3",
}  # fmt: skip
"""What no number is, by the text that is typed for it; the last is two jobs on the command line."""


def key(name: str) -> str:
    """A setting as it is typed."""
    group, _, rest = name.partition("_")
    return f"{group}.{rest}" if group in ("evaluate", "checkpoint") else name


def in_python(**settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Trainer(**settings)
    return str(caught.value)


def typed(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        accel.compose(list(words))
    return str(caught.value)


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_said_to_be_none(name: str) -> None:
    for value in NO_NUMBERS.values():
        sentence = in_python(**{name: value})
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        assert sentence.startswith(f"{key(name)} must be a ")
        assert " number " in sentence
        assert sentence.endswith(f"not {shown}")
    assert typed(f"{key(name)}=true") == in_python(**{name: True}), "on the command line too"


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_the_command_line_says_the_same(text: str) -> None:
    sentence = typed(f"evaluate.every={text}")
    if text == "2,3":
        assert sentence == "evaluate.every=2,3 names several values; add --multirun to run one after the other"
    else:
        assert sentence == in_python(evaluate_every=NO_NUMBERS[text])


def test_a_number_that_no_float_holds_is_refused_or_taken() -> None:
    assert in_python(epochs=10**400).startswith("epochs must be a number above 0, or null, not 1000")
    assert Trainer(updates=10**400).settings.updates == 10**400


HALF: dict[str, Any] = {"": "", "max:": "max:", "'min: '": "min: ", "'max: accuracy'": "max: accuracy", "true": True, "3": 3}


@pytest.mark.parametrize("text", HALF)
def test_a_metric_has_a_name(text: str) -> None:
    words = "must be a metric, such as accuracy, min:NAME or max:NAME"
    shown = "true" if text == "true" else repr(HALF[text])
    expected = f"checkpoint.best {words}, or null, not {shown}"
    assert in_python(checkpoint_best=HALF[text]) == typed(f"checkpoint.best={text}") == expected
    for plugin in (EarlyStop, Plateau):
        with pytest.raises(ConfigError) as caught:
            plugin(metric=HALF[text])
        name = {EarlyStop: "early_stop", Plateau: "plateau"}[plugin]
        assert str(caught.value) == f"{name}.metric {words}, not {shown}"
    assert typed("+plugins=[early_stop]", f"plugins.early_stop.metric={text}").endswith(f"{words}, not {shown}")


def test_a_metric_may_have_any_name() -> None:
    for name in ("max", "min", "a:b", "max:a b", "min:val/loss", "top 5"):
        assert Trainer(checkpoint_best=name).settings.checkpoint_best == name


@pytest.mark.parametrize(("text", "value"), [("", ""), ("' '", " "), ("true", True), ("3", 3), ("[a]", ["a"])])
def test_a_run_directory_is_a_path(text: str, value: Any) -> None:
    shown = "true" if value is True else repr(value)
    assert in_python(out=value) == typed(f"out={text}") == f"out must be a path, or null, not {shown}"
    assert Trainer(out=Path("runs/one")).settings.out == "runs/one"
