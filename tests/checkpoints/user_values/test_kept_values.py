"""Values of every kind that the user's objects hold move, are kept, come back, and are undone after a trial."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._tensor_str import printoptions

from accel.checkpoints.snapshot import Snapshot
from accel.checkpoints.user_state import UserState
from accel.checkpoints.user_values import kept_values
from accel.checkpoints.user_values.kept_values import can_be_kept, copied, to_plain, undone

KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "deque": (lambda: deque([1, 2], maxlen=2), lambda value: value.append(3)),
    "array": (lambda: np.zeros(3), lambda value: np.add(value, 1, out=value)),
    "array of bytes": (lambda: np.zeros(3, np.uint8), lambda value: value.fill(7)),
    "array of no dimension": (lambda: np.array(1.5), lambda value: value.fill(2.5)),
    "set": (lambda: {1, "a"}, lambda value: value.add(2)),
    "counter": (Counter, lambda value: value.update("ab")),
    "default": (lambda: defaultdict(list), lambda value: value["a"].append(1)),
    "ordered": (OrderedDict, lambda value: value.update(b=1, a=2)),
    "bytes": (bytearray, lambda value: value.append(3)),
    "nested": (lambda: {"a": [deque([torch.zeros(2)])]}, lambda value: value["a"][0][0].add_(1)),
    "tensors": (lambda: [torch.zeros(2)], lambda value: value[0].add_(1)),
    "numpy": (lambda: np.random.default_rng(1), lambda value: value.normal()),
    "old numpy": (lambda: np.random.RandomState(1), lambda value: value.randn()),
    "python": (lambda: random.Random(1), lambda value: value.random()),
    "torch": (lambda: torch.Generator().manual_seed(1), lambda value: torch.rand(2, generator=value)),
}  # fmt: skip
ASSIGNED: dict[str, tuple[Any, Any]] = {
    "complex": (1j, 2 + 1j), "scalar": (np.float64(1), np.float64(0.1)), "frozen": (frozenset(), frozenset({1})), "none": (None, 3),
    "another array": (np.zeros(2), np.ones(5, np.float32)), "kind": (1, np.int16(3)),
}  # fmt: skip


class Holder:
    """An object of the user's that is not called."""

    value: Any = None


def holders(value: Any) -> dict[str, Any]:
    """Every way in which something of the user's holds a value."""
    held, model = Holder(), nn.Linear(1, 1)
    held.value, model.held, model.value = value, held, value

    def loss() -> Any:
        return value

    return {"model": model, "loss": loss, "task": Holder(), "held": held}


def state_of(parts: dict[str, Any]) -> UserState:
    return UserState(parts["model"], {name: part for name, part in parts.items() if name != "model"})


def through_a_file(state: dict[str, Any]) -> Any:
    file = BytesIO()
    torch.save(Snapshot(torch.device("cpu")).take(state), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def text(value: Any) -> str:
    """Every number in a value."""
    with printoptions(threshold=10_000):
        return str(to_plain(value))


@pytest.mark.parametrize("kind", KINDS)
def test_what_moves_in_place_is_kept_and_undone(kind: str) -> None:
    make, move = KINDS[kind]
    value = make()
    parts = holders(value)
    state = state_of(parts)
    assert state.state_dict() == {}
    before = text(value)
    state.remember()
    move(value)
    assert text(value) != before
    state.undo()
    assert text(value) == before
    assert state.state_dict() == {}, "a trial that is undone is no change"
    move(value)
    kept = through_a_file(state.state_dict())
    assert {"model.value", "model.held.value"} <= kept.keys()
    assert ("loss.value" in kept) is (not isinstance(value, Collection)), "a container in a closure is a record"
    other = holders(make())
    assert state_of(other).load_state_dict(kept, torch.device("cpu")) == []
    for copy in (other["model"].value, other["model"].held.value):
        assert text(copy) == text(value)
        assert type(copy) is type(value)
    assert getattr(other["model"].value, "maxlen", None) == getattr(value, "maxlen", None)


@pytest.mark.parametrize("kind", ASSIGNED)
def test_what_is_assigned_anew_is_kept(kind: str) -> None:
    old, new = ASSIGNED[kind]
    held = Holder()
    held.value = old
    state = UserState(nn.Identity(), {"held": held})
    held.value = new
    kept = through_a_file(state.state_dict())
    held.value = old
    assert UserState(nn.Identity(), {"held": held}).load_state_dict(kept, torch.device("cpu")) == []
    assert text(held.value) == text(new)
    assert type(held.value) is type(new)


def test_numbers_of_a_closure_are_kept() -> None:
    def make() -> Any:
        calls = 0

        def loss() -> int:
            nonlocal calls
            calls += 1
            return calls

        return loss

    first, second = make(), make()
    state = UserState(nn.Identity(), {"loss": first})
    first()
    first()
    UserState(nn.Identity(), {"loss": second}).load_state_dict(through_a_file(state.state_dict()), torch.device("cpu"))
    assert second() == 3


def test_iterators_are_told_and_collections_are_not_walked() -> None:
    class Data(Holder):
        def __getitem__(self, index: int) -> Any:
            return index

    held = Holder()
    held.turns, held.data, held.value = iter([1, 2]), Data(), 1  # type: ignore[attr-defined]
    held.data.value = 1  # type: ignore[attr-defined]
    state = UserState(nn.Identity(), {"held": held})
    assert state.iterators == {"held.turns"}
    held.data.value = 2  # type: ignore[attr-defined]
    assert state.state_dict() == {}


def test_what_is_kept_alone_and_not_in_a_container() -> None:
    for value in (nn.Parameter(torch.ones(2)), torch.Generator()):
        assert can_be_kept(value)
        for container in ([value], (value,), {"a": value}, [[value]]):
            assert not can_be_kept(container)


def test_copies_are_made_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_values, "LARGEST_COPY", 16)
    for numbers, is_copied in ((3, True), (4, True), (5, False)):
        for value in (torch.ones(numbers), np.ones(numbers, dtype=np.float32)):
            copy = copied(value)
            value[:] = 2.0
            assert float(undone(copy)[0]) == (1.0 if is_copied else 2.0)
