"""What the user's own objects remember comes back with a resumed run: it ends as the run that nobody stopped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.checkpoints.user_state import UserState
from accel.errors import AccelWarning
from accel.parts import Watch
from accel.plugins import EMA
from accel.trainer import Trainer
from tests.support.kept_means import KeptMeans

pytestmark = pytest.mark.filterwarnings("ignore:model.safetensors is without _extra_state")
torch.manual_seed(3)
DATA = [(torch.randn(4, 3), torch.randn(4, 3)) for _ in range(3)]


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


class Hidden(Plain):
    """A buffer that is not persistent, and moves."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3), persistent=False)

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.mean.lerp_(x.mean(0), 0.1)
        return self.layer(x - self.mean)


class Counting(Plain):
    """A number, and a tensor that is no buffer, assigned anew."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.last = 0, torch.zeros(3)

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.calls, self.last = self.calls + 1, x.mean(0)
        return self.layer(x + self.last) * (1 + self.calls / 10)


class Growing(Plain):
    """A memory bank that grows, in a persistent buffer or in one that is not."""

    def __init__(self, persistent: bool = True) -> None:
        super().__init__()
        self.register_buffer("bank", torch.zeros(0, 3), persistent=persistent)

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.bank = torch.cat([self.bank, x[:1]])
        return self.layer(x) + self.bank.mean(0)


class GrowingHidden(Growing):
    def __init__(self) -> None:
        super().__init__(persistent=False)


class Late(Plain):
    """A buffer that is None at first."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", None)

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.seen = x.mean(0) if self.seen is None else self.seen.lerp(x.mean(0), 0.3)
        return self.layer(x - self.seen)


class Made(Plain):
    """A buffer that the first forward pass makes."""

    def forward(self, x: Tensor) -> Any:
        if self.training:
            if not hasattr(self, "seen"):
                self.register_buffer("seen", torch.zeros(3))
            self.seen.add_(x.mean(0))
        return self.layer(x - getattr(self, "seen", 0.0))


class Widened(Plain):
    """A buffer that changes its dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.count = self.count.double() + 0.25
        return self.layer(x) * (1 + self.count.float())


class Extra(Plain):
    """torch's own way."""

    def __init__(self) -> None:
        super().__init__()
        self._n = 0

    def get_extra_state(self) -> dict[str, int]:
        return {"n": self._n}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self._n = state["n"]

    def forward(self, x: Tensor) -> Any:
        self._n += self.training
        return self.layer(x) * (1 + self._n)


class Head(nn.Module):
    """A loss with a running centre, as of metric learning."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(3))
        self.register_buffer("hidden", torch.ones(()), persistent=False)
        self.inner = nn.BatchNorm1d(3)
        self.calls = 0

    def forward(self, model: nn.Module, batch: Any) -> Any:
        self.centre = self.centre * 0.9 + batch[1].mean(0) * 0.1
        self.hidden.mul_(1.01)
        self.calls += 1
        return (self.inner(model(batch[0])) - self.centre).square().mean() * self.hidden + self.calls


class Called:
    """A callable object that is no module."""

    def __init__(self) -> None:
        self.scale, self.history, self.head = 1.0, [0.0], Head()

    def __call__(self, model: nn.Module, batch: Any) -> Any:
        self.scale *= 0.9
        self.history.append(self.scale)
        return self.head(model, batch) * self.scale * len(self.history)


def square(model: nn.Module, batch: Any) -> Any:
    return (model(batch[0]) - batch[1]).square().mean()


def by_closure() -> Any:
    head = Head()
    return lambda model, batch: head(model, batch)


def by_argument() -> Any:
    from functools import partial

    def loss(head: nn.Module, model: nn.Module, batch: Any) -> Any:
        return head(model, batch)

    return partial(loss, Head())


criterion = Head()


def by_global() -> Any:
    global criterion
    criterion = Head()
    return lambda model, batch: criterion(model, batch)


class Counted(Trainer):
    """A task that counts."""

    def __init__(self, **run: Any) -> None:
        super().__init__(**run)
        self.counter, self.head, self.momentum = 0, Head(), torch.ones(())

    def loss(self, model: nn.Module, batch: Any) -> Any:
        self.counter += 1
        self.momentum = self.momentum * 0.9
        return self.head(model, batch) * self.counter * self.momentum


class Queued(Trainer):
    """A task that keeps its state itself."""

    def __init__(self, **run: Any) -> None:
        super().__init__(**run)
        self.recent: deque[int] = deque(maxlen=2)

    def loss(self, model: nn.Module, batch: Any) -> Any:
        self.recent.append(len(self.recent) + sum(self.recent) % 7)
        return square(model, batch) * (1 + sum(self.recent))

    def get_extra_state(self) -> Any:
        return {"recent": list(self.recent)}

    def set_extra_state(self, state: Any) -> None:
        self.recent.extend(state["recent"])


class StopAt(Watch):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def after(self, step: int, loss: Tensor) -> None:
        if step == self.step:
            raise RuntimeError("stopped here")


Case = tuple[Callable[[], nn.Module], Callable[[], Any], type[Trainer]]


def weights(case: Case, folder: Path, *watch: Watch, **settings: Any) -> Any:
    torch.manual_seed(0)
    model, loss, task = case
    given = {} if task in (Counted, Queued) else {"loss": loss()}
    settings |= {"epochs": 3, "out": folder, "checkpoint_every": 1, "watch": watch, "device": "cpu", **given}
    return task(model=model(), data=DATA, plugins=[EMA(decay=0.5)], **settings).fit().model.state_dict()


MODELS = (Hidden, Counting, Growing, GrowingHidden, KeptMeans, Late, Made, Widened, Extra)
CASES: dict[str, Case] = {
    **{kind.__name__: (kind, lambda: square, Trainer) for kind in MODELS},
    "module": (Plain, Head, Trainer), "object": (Plain, Called, Trainer), "closure": (Plain, by_closure, Trainer),
    "partial": (Plain, by_argument, Trainer), "global": (Plain, by_global, Trainer), "task": (Plain, Head, Counted),
    "extra": (Plain, Head, Queued),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_ends_as_one_that_was_not_stopped(case: str, tmp_path: Path) -> None:
    whole = weights(CASES[case], tmp_path / "whole")
    with pytest.raises(RuntimeError, match="stopped here"):
        weights(CASES[case], tmp_path / "run", StopAt(5))
    again = weights(CASES[case], tmp_path / "run", resume="auto")
    assert whole.keys() == again.keys()
    for name, value in whole.items():
        assert torch.equal(value, again[name]) if isinstance(value, Tensor) else value == again[name], name
    finished = weights(CASES[case], tmp_path / "run", resume="auto")
    assert all(torch.equal(value, finished[name]) for name, value in whole.items() if isinstance(value, Tensor)), (
        "kept a second time"
    )


def test_what_does_not_move_is_not_kept() -> None:
    loss, model = Called(), Counting()
    state = UserState(model, {"loss": loss, "none": None})
    assert state.state_dict() == {}
    loss.scale = 3.0
    model.calls = 2
    assert state.state_dict() == {"loss.scale": 3.0, "model.calls": 2}


def test_a_value_without_a_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stopped here"):
        weights((Plain, Head, Trainer), tmp_path / "run", StopAt(4))
    with pytest.warns(AccelWarning) as caught:
        weights((Plain, lambda: square, Trainer), tmp_path / "run", resume="auto", allow=["code"])
    assert any("the checkpoint has values of loss.calls" in str(warning.message) for warning in caught)


def test_a_forged_name_reaches_nothing_but_attributes() -> None:
    model, loss = Plain(), Called()
    state, before = UserState(model, {"loss": loss, "task": None}), dict(vars(model))
    forged = ["model.forward", "model._parameters", "model.training", "loss.__class__", "loss.__call__", "os.system", "task.x", ""]
    assert state.load_state_dict(dict.fromkeys(forged, "trap"), torch.device("cpu")) == forged
    assert vars(model) == before


def test_a_trial_is_undone() -> None:
    loss, model = Called(), KeptMeans()
    state = UserState(model, {"loss": loss})
    state.remember()
    history, centre = loss.history, loss.head.centre
    model.train()
    loss(model, DATA[0])
    state.undo()
    assert (loss.scale, loss.history, loss.head.calls, model.keys) == (1.0, [0.0], 0, [])
    assert loss.history is history
    assert loss.head.centre is centre
    assert torch.equal(loss.head.hidden, torch.ones(()))
    assert not hasattr(model, "latest")
    assert state.state_dict() == {}
