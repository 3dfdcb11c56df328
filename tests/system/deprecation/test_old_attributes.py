"""Names that plugins and tasks used before 0.1.0 go on working, and warn with the new name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from accel.parts import Clip, Grads, Parallel, Parts, Run
from accel.parts.part import RENAMED
from accel.system.machine import Need
from accel.testing import ToyResult
from accel.testing.toy_run import Spy


class Base(Clip):
    """A plugin of today."""

    def summary_notes(self) -> list[str]:
        return ["of the base"]


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_plugin_that_overrides_an_old_name_overrides_the_new_one(old: str, new: str) -> None:
    def method(self: object, *_: object) -> str:
        return "its own"

    with pytest.warns(DeprecationWarning, match=f"Mine.{old} is now called {new}"):
        plugin = dataclass(eq=False)(type("Mine", (Clip,), {old: method, "__module__": __name__}))()
    assert getattr(plugin, new)() == "its own"


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_method_hands_on(old: str, new: str) -> None:
    part = Clip()
    with pytest.warns(DeprecationWarning, match=f"Clip.{old} is now called {new}"):
        assert getattr(part, old) == getattr(part, new)


def test_an_override_by_an_old_name_calls_that_of_its_base() -> None:
    class Second(Base):
        def plan_notes(self) -> dict[str, str]:
            return {"second": "2"}

    with pytest.warns(DeprecationWarning, match="is now called"):

        class Third(Second):
            def notes(self) -> dict[str, str]:
                return {**super().notes(), **Second.notes(self), "third": "3"}  # type: ignore[operator]

    class Fourth(Third):
        def plan_notes(self) -> dict[str, str]:
            return {**super().plan_notes(), "fourth": "4"}

    with pytest.warns(DeprecationWarning, match="notes is now called plan_notes"):
        assert dataclass(eq=False)(Fourth)().plan_notes() == {"second": "2", "third": "3", "fourth": "4"}


def test_an_override_by_an_old_name_may_come_from_a_mixin() -> None:
    class Mixin:
        def remarks(self) -> list[str]:
            return [*super().remarks(), "mixed in"]  # type: ignore[misc]

    with pytest.warns(DeprecationWarning, match="Mixed.remarks is now called summary_notes"):

        class Mixed(Mixin, Base):
            pass

    with pytest.warns(DeprecationWarning, match="summary_notes"):
        assert dataclass(eq=False)(Mixed)().summary_notes() == ["of the base", "mixed in"]


def test_a_plugin_with_the_new_names_warns_of_nothing() -> None:
    dataclass(eq=False)(type("Mine", (Clip,), {new: lambda self: None for new in RENAMED.values()}))


NAMES = {
    "bare": "unwrapped_model", "ordered": "orderable_samples", "batched_here": "uses_batch_size", "split": "evaluation_split",
    "writes": "has_run_directory", "dry": "dry_run", "bad": "bad_samples",
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), NAMES.items())
def test_a_fact_of_a_run_is_read_by_its_old_name(old: str, new: str) -> None:
    run = Run(Parts(), nn.Linear(1, 1), lambda model, batch: model(batch).mean(), torch.device("cpu"), 0, 1, 2)
    with pytest.warns(DeprecationWarning, match=f"Run.{old} is now called {new}") as caught:
        assert getattr(run, old) is getattr(run, new)
    assert caught[0].filename == __file__


def test_an_attribute_of_a_plugins_own_may_have_an_old_name() -> None:
    part = Clip()
    part.notes = ["its own"]  # type: ignore[method-assign, assignment]
    assert part.notes == ["its own"]


GRADS, PARALLEL = Grads([]), Parallel()
OBJECTS = [
    (Need("cuda"), "lacking", "unmet_reason"), (ToyResult([], [], Spy()), "same", "equals"),
    (GRADS, "grow", "divide_by"), (GRADS, "check", "need_found_inf"), (GRADS, "rewritten", "writable"),
    (PARALLEL, "agree", "vote"), (PARALLEL, "adding", "all_reduce_async"), (PARALLEL, "about", "reference_count"),
]  # fmt: skip


@pytest.mark.parametrize(("owner", "old", "new"), OBJECTS, ids=[old for _, old, _ in OBJECTS])
def test_a_method_for_plugin_authors_is_called_by_its_old_name(owner: object, old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{type(owner).__name__}.{old} is now called {new}") as caught:
        assert getattr(owner, old) == getattr(owner, new)
    assert caught[0].filename == __file__
