"""One wrong, missing, added or swapped letter in a name: the right name is suggested."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from dataclasses import fields

import pytest

from accel.cli.compose.compose import compose_job
from accel.cli.compose.hydra_session import session
from accel.errors import ConfigError
from accel.schema import plugin_registry
from accel.schema.settings import NESTED, Settings
from tests.support.drill_length import times

LETTERS = string.ascii_lowercase + "_"
PER_NAME, SETTINGS = times(2, 6), times(1, 99)
"""Errors in each name, and settings of each plugin: `make drill` tries them all, at a tenth of a second each."""


def typos(name: str, rng: random.Random) -> Iterator[str]:
    """Some of the words one edit away from `name`."""
    cuts = [(name[:place], name[place:]) for place in range(len(name) + 1)]
    edits = {head + tail[1:] for head, tail in cuts if tail}
    edits |= {head + tail[1] + tail[0] + tail[2:] for head, tail in cuts if len(tail) > 1}
    edits |= {head + rng.choice(LETTERS) + tail[1:] for head, tail in cuts if tail}
    edits |= {head + rng.choice(LETTERS) + tail for head, tail in cuts if head}
    usable = sorted(edit for edit in edits - {name, ""} if edit.isidentifier())
    return iter(rng.sample(usable, min(PER_NAME, len(usable))))


def hits(name: str, wrong: list[str], known: list[str], say: str) -> tuple[int, list[str]]:
    """How many of the wrong words the message has the right name for; `say` is what is typed, with {} for the word."""
    missed = []
    for word in wrong:
        if word in known:
            continue
        with session() as opened, pytest.raises(ConfigError) as caught:
            compose_job(opened, say.format(word).split())
        assert word in str(caught.value)
        named = f"did you mean {name!r}?", f"{name} is on already"  # of what is on by default, that it is so is the answer
        if not any(words in str(caught.value) for words in named):
            missed.append(f"{word} for {name}: {caught.value}")
    return len(wrong), missed


def judge(results: list[tuple[int, list[str]]]) -> None:
    total, missed = sum(count for count, _ in results), [text for _, texts in results for text in texts]
    assert total > 30
    assert len(missed) <= 0.05 * total, "\n".join(missed)


@pytest.mark.slow
def test_plugins() -> None:
    rng, known = random.Random(1), plugin_registry.names()
    judge([hits(name, list(typos(name, rng)), known, "plugins=[{}]") for name in known])


@pytest.mark.slow
def test_settings_of_the_run() -> None:
    rng = random.Random(2)
    known = [field.name for field in fields(Settings) if not field.name.startswith(NESTED)]
    judge([hits(name, list(typos(name, rng)), known, "{}=1") for name in known])


@pytest.mark.slow
def test_settings_of_plugins() -> None:
    rng, results = random.Random(3), []
    for plugin in plugin_registry.names()[:: times(2, 1)]:
        known = list(plugin_registry.plugin_signature(plugin).settings)
        typed = f"plugins=[{plugin}] plugins.{plugin}.{{}}=1"
        tried = rng.sample(known, min(SETTINGS, len(known)))
        results += [hits(name, list(typos(name, rng))[:1], known, typed) for name in tried]
    judge(results)


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        ("taks=images", "task"), ("task=imags", "images"), ("task.widht=8", "width"), ("+experiment=quikc", "quick"),
        ("plugin=[amp]", "plugins"), ("plugins=[clip,apm]", "amp"), ("~plugins.progres", "progress"),
        ("plugins=amp,clpi", "clip"), ("device=gpu", "cuda"), ("device=cudaa", "cuda"),
        ("checkpoint.evry=3", "checkpoint.every"), ("amp", "+plugins=[amp]"),
        ("task._target_=accel.tasks.digits.Digit", "Digits"), ("task._target_=accel.tasks.digit.Digits", "digits"),
        ("plugins.apm.dtype=float16", "amp"), ("plugins.amp.dtype=flaot16", "float16"), ("~plugin.progress", "plugins.progress"),
    ],
)  # fmt: skip
def test_every_kind_of_name(typed: str, right: str) -> None:
    words = ["+plugins=[amp]", typed] if typed.startswith("plugins.") else [typed]
    with session() as opened, pytest.raises(ConfigError) as caught:
        compose_job(opened, words)
    assert f"did you mean {right!r}?" in str(caught.value)
