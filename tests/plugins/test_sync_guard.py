from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from accel import Trainer
from accel.cli.train_command import main
from accel.device.sync_warnings import SYNC_WARNING, SyncReporter
from accel.errors import AccelWarning, TrainingError
from accel.parts import Watch
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.sync_guard import SyncGuard
from accel.testing import fit_toy


@dataclass(eq=False)
class Curious(Watch):
    """A watch that reads."""

    def after(self, step: int, loss: Tensor) -> None:
        loss.item()

    def evaluated(self, epoch: int, metrics: dict[str, float]) -> None:
        torch.ones(1).item()


def reading(model: nn.Module, x: Tensor) -> Tensor:
    loss = model(x).square().mean()
    if loss > 100:  # reads
        raise AssertionError
    loss.item()
    return loss


def plain(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).square().mean()  # type: ignore[no-any-return]


def fit(loss: Callable[..., Any], *plugins: Any, epochs: int = 3) -> Any:
    torch.manual_seed(0)
    data = list(torch.randn(8, 4, 3).unbind())
    return Trainer(nn.Linear(3, 1), data, data, loss, plugins=plugins, watch=(), epochs=epochs).fit()


def rows(result: Any) -> dict[str, float]:
    return {str(row["where"]): float(row["per update"]) for row in result.sections["sync_guard"].rows}


def test_reads_in_the_users_loss_are_named_by_file_and_line() -> None:
    result = fit(reading, SyncGuard(first=2, updates=5), Curious())
    line = reading.__code__.co_firstlineno
    assert rows(result) == {
        f"tests/plugins/test_sync_guard.py:{line + 2} if loss > 100:  # reads": 1,
        f"tests/plugins/test_sync_guard.py:{line + 4} loss.item()": 1,
    }
    assert result.sections["sync_guard"].title == "numbers read on the host, each a wait on CUDA: 10 in 5 updates (2 to 6)"


def test_neither_watches_nor_evaluations_nor_checkpoints_count(tmp_path: Path) -> None:
    calls = []

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        calls.append(model.training)
        return plain(model, x) if model.training else reading(model, x)

    result = fit(loss, SyncGuard(first=1, updates=100, action="raise"), Curious())
    assert not all(calls), "it was evaluated"
    assert result.sections["sync_guard"].rows == []
    assert result.sections["sync_guard"].title.endswith("0 in 24 updates (1 to 24)")


def test_ours_are_counted_too() -> None:
    result = fit(plain, SyncGuard(), AMP(dtype="float16", force=True), AdamW(fused=False))
    (where,) = [where for where in rows(result) if where.startswith("accel/parts/optim.py:")]
    assert "found_inf.item()" in where
    assert fit(plain, SyncGuard(), AMP(dtype="float16", force=True), AdamW()).sections["sync_guard"].rows == []


def test_a_library_is_passed_over() -> None:
    from sklearn.metrics import accuracy_score

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        out = plain(model, x)
        accuracy_score([bool(out > 0)], [1])
        accuracy_score([1], [Truth(out)])
        return out

    class Truth(int):
        def __new__(cls, out: Tensor) -> Truth:
            return super().__new__(cls, 1)

    assert [where.partition(":")[0] for where in rows(fit(loss, SyncGuard()))] == ["tests/plugins/test_sync_guard.py"]


def test_raise_ends_the_run_in_the_line_that_reads() -> None:
    sentence = r"^sync_guard: update 3 makes the host wait .*test_sync_guard.py:\d+ if loss > 100"
    with pytest.raises(TrainingError, match=sentence) as caught:
        fit(reading, SyncGuard(action="raise", first=3))
    assert caught.traceback[-1].path.name == "sync_guard.py"
    assert any(frame.name == "reading" for frame in caught.traceback)
    assert _get_current_dispatch_mode() is None, "it is off again"  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_error_it_is_off(error: type[BaseException]) -> None:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        raise error("mine")

    with pytest.raises(error):
        fit(loss, SyncGuard(first=1))
    assert _get_current_dispatch_mode() is None  # type: ignore[no-untyped-call]


def test_only_the_updates_asked_for_are_looked_at() -> None:
    seen = []

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        if model.training:
            seen.append(_get_current_dispatch_mode() is not None)  # type: ignore[no-untyped-call]
        return plain(model, x)

    fit(loss, SyncGuard(first=7, updates=3))
    assert [step for step, on in enumerate(seen, start=1) if on] == [7, 8, 9], "across the end of an epoch"


def test_a_resumed_run_is_looked_at_from_where_it_goes_on(tmp_path: Path) -> None:
    fit_toy([SyncGuard(first=2, updates=1)], out=tmp_path, checkpoint_every=1, stop=5)
    fit_toy([SyncGuard(first=2, updates=3), "metrics"], resume=tmp_path)
    assert "0 in 3 updates (6 to 8)" in (tmp_path / "summary.json").read_text()


def test_the_run_keeps_its_bits() -> None:
    assert fit_toy([SyncGuard(first=1, updates=12), AdamW()]).equals(fit_toy([AdamW()]))


def test_a_run_that_is_too_short() -> None:
    with pytest.warns(AccelWarning, match=r"sync_guard sees nothing: sync_guard.first=13, and the whole run has 12 updates"):
        fit_toy([SyncGuard(first=13)])


@pytest.mark.slow
def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    task = "from accel.tasks.digits import Digits\nclass Mine(Digits):\n    def loss(self, model, batch):\n"
    task += "        loss = super().loss(model, batch)\n        self.last = loss.detach().item()\n        return loss\n"
    (tmp_path / "reads_much.py").write_text(task)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["task._target_=reads_much.Mine", "epochs=1", "+plugins=[sync_guard]"]
    assert main(words) == 0
    assert "reads_much.py:5 self.last = loss.detach().item()" in " ".join(capsys.readouterr().out.split())
    assert main([*words, "plugins.sync_guard.action=raise"]) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert (
        "sync_guard: update 4 makes the host wait for the device in reads_much.py:5 self.last = loss.detach().item(); keep"
        in message
    )
    assert main([*words, "plugins.sync_guard.action=rais"]) == 2
    assert "did you mean 'raise'?" in capsys.readouterr().err


def test_on_cuda_torchs_warnings_are_told_and_others_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[Any] = ["default"]
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: modes[-1])
    places: list[str] = []
    waits, show = SyncReporter(places.append), warnings.showwarning
    for _ in range(2):
        waits.start()
        for _ in range(2):  # torch warns from C, in the frame that called; each time counts
            warnings.warn(f"{SYNC_WARNING} (Triggered internally ...)", stacklevel=1)
        with pytest.warns(DeprecationWarning, match="another"):
            warnings.warn("another", DeprecationWarning, stacklevel=1)
        waits.stop()
    assert modes == ["default", "warn", "default", "warn", "default"]
    assert len(places) == 4
    assert all("tests/plugins/test_sync_guard.py" in where for where in places)
    assert warnings.showwarning is show
