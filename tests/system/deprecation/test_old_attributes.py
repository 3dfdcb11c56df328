"""Names that plugins and tasks used before 0.1.0 go on working, and warn with the new name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from accel.parts import Autocast, Clip, Grads, Group, Micro, Optim, Parallel, Part, Parts, Run, Window
from accel.system.deprecation.old_attributes import moved_names
from accel.system.machine import Need
from accel.testing import ToyResult
from accel.testing.toy_run import Spy

RENAMED = moved_names(Part)
KINDS = (Part, Parallel, Optim)
NEW = [(kind, old, new) for kind in KINDS for old, new in moved_names(kind).items()]
METHODS = [(kind, old, new) for kind, old, new in NEW if callable(getattr(kind, new, None))]


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
    "writes": "has_run_directory", "dry": "dry_run", "bad": "bad_samples", "proven": "newest_finite",
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), NAMES.items())
def test_a_fact_of_a_run_is_read_by_its_old_name(old: str, new: str) -> None:
    run = Run(Parts(), nn.Linear(1, 1), lambda model, batch: model(batch).mean(), torch.device("cpu"), 0, 1, 2)
    with pytest.warns(DeprecationWarning, match=f"Run.{old} is now called {new}") as caught:
        assert getattr(run, old) == getattr(run, new)
    assert caught[0].filename == __file__


def test_an_attribute_of_a_plugins_own_may_have_an_old_name() -> None:
    part = Clip()
    part.notes = ["its own"]  # type: ignore[method-assign, assignment]
    assert part.notes == ["its own"]


class Fourfold(Group):
    """A plugin of today."""

    @property
    def configured_size(self) -> int:
        return 4


def test_a_property_that_overrides_an_old_name_overrides_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match="Half.asked is now called configured_size"):

        class Half(Fourfold):
            @property
            def asked(self) -> int:
                return int(super().asked) // 2

    with pytest.warns(DeprecationWarning, match="Half.asked"):
        assert dataclass(eq=False)(Half)().size == 2


@pytest.mark.parametrize(("kind", "old", "new"), METHODS)
def test_a_method_of_one_kind_of_part_is_overridden_by_its_old_name(kind: type[Part], old: str, new: str) -> None:
    def method(self: object, *_: object) -> str:
        return "its own"

    with pytest.warns(DeprecationWarning, match=f"Mine.{old} is now called {new}"):
        plugin = dataclass(eq=False)(type("Mine", (kind,), {old: method, "__module__": __name__}))()
    assert getattr(plugin, new)() == "its own"


def test_a_gradient_is_scaled_by_the_old_name() -> None:
    grads = Grads([])
    with pytest.warns(DeprecationWarning, match="Grads.grow is now called divide_by"):
        grads.grow(torch.tensor(2.0))
    assert grads.scale == 2


OBJECTS = [
    (Grads([]), "grow", "divide_by"), (Grads([]), "check", "need_found_inf"), (Grads([]), "rewritten", "writable"),
    (Micro(None, 3, 0.5, True), "items", "samples"), (Micro(None, 3, 0.5, True), "share", "weight"),
    (Window((), 1, 3), "items", "samples"), (Group(), "asked", "configured_size"), (Group(), "other", "resumed_size"),
    (Optim(), "step_alone", "step_one"), (Optim(), "together", "why_not_per_parameter"), (Optim(), "pins", "capture_refs"),
    (Parallel(), "adding", "all_reduce_async"), (Parallel(), "about", "reference_count"), (Parallel(), "agree", "vote"),
    (Autocast(), "keeps", "kept_in_float32"),
    (Need("cuda"), "lacking", "unmet_reason"), (ToyResult([], [], Spy()), "same", "equals"),
]  # fmt: skip


@pytest.mark.parametrize(("owner", "old", "new"), OBJECTS, ids=[f"{type(owner).__name__}-{old}" for owner, old, _ in OBJECTS])
def test_a_method_for_plugin_authors_is_called_by_its_old_name(owner: object, old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{type(owner).__name__}.{old} is now called {new}") as caught:
        assert getattr(owner, old) == getattr(owner, new)
    assert caught[0].filename == __file__
