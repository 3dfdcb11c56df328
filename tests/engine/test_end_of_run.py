"""A run that is done hands out its result, whatever the disk does then; one that diverged says so."""

from __future__ import annotations

import errno
import gc
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor, nn

from accel.cli.train_command import main
from accel.engine import finish
from accel.errors import AccelWarning
from accel.parts import Loader, Watch
from accel.plugins.metrics import Metrics
from accel.report.record.run_files import LOCK
from accel.report.result import Result
from accel.trainer import Trainer

DATA = [(torch.ones(2, 3), torch.zeros(2, 3))] * 2


def mean(model: nn.Module, batch: Any) -> Any:
    return (model(batch[0]) - batch[1]).square().mean()


def fit(out: Path, loss: Any = mean, **settings: Any) -> Result:
    return Trainer(nn.Linear(3, 3), DATA, loss=loss, out=out, device="cpu", **{"watch": (), **settings}).fit()


class Failing(Watch):
    """A watch that fails in one of its methods."""

    def __init__(self, method: str, number: int) -> None:
        super().__init__()
        setattr(self, method, lambda *_: refuse(number))


def refuse(number: int, *_: Any, **__: Any) -> Any:
    raise OSError(number, "the disk", "a file")


def lock(patch: pytest.MonkeyPatch, number: int) -> None:
    unlink = Path.unlink
    patch.setattr(Path, "unlink", lambda path, **options: refuse(number) if path.name == LOCK else unlink(path, **options))


ENDS: dict[str, Callable[[pytest.MonkeyPatch, int], Any]] = {
    "lock": lock,
    "loader": lambda patch, number: patch.setattr(Loader, "close", lambda loader: refuse(number)),
    "files": lambda patch, number: patch.setattr(finish, "list_files", lambda out: refuse(number)),
    "weights": lambda patch, number: patch.setattr(finish, "write_weights", lambda *_, **__: refuse(number)),
    "curves": lambda patch, number: patch.setattr("accel.plugins.metrics.draw", lambda *_: refuse(number)),
    "watch end": lambda patch, number: Failing("end", number),
    "watch close": lambda patch, number: Failing("close", number),
}  # fmt: skip


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
@pytest.mark.parametrize("end", ENDS)
def test_the_result_is_there_whatever_the_disk_refuses(
    end: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = ENDS[end](monkeypatch, number) or Metrics()
    with pytest.warns(AccelWarning, match=r"could not be (removed|closed|written)"):
        result = fit(tmp_path / "run", watch=[watch])
    assert result.updates == 2
    monkeypatch.undo()
    assert fit(tmp_path / "run", resume="auto").updates == 2, "nothing holds the directory"


def diverging(model: nn.Module, batch: Any) -> Any:
    return mean(model, batch) * math.inf


def test_a_run_that_ends_with_nan_says_so(tmp_path: Path) -> None:
    with pytest.warns(AccelWarning, match="ended with weights that are not finite"):
        result = fit(tmp_path / "run", diverging)
    assert not result.finite
    assert "weights" in result.divergence
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["finite"] is False
    accepted = fit(tmp_path / "other", diverging, allow=["nonfinite"])
    assert not accepted.finite


def test_it_names_the_last_checkpoint_that_is_finite(tmp_path: Path) -> None:
    calls = list[int]()

    def late(model: nn.Module, batch: Any) -> Any:
        calls.append(1)
        return mean(model, batch) * (math.nan if len(calls) == 4 else 1)

    with pytest.warns(AccelWarning, match=r"the last checkpoint that is finite: resume=.*update-00000002-epoch-0001.pt"):
        fit(tmp_path / "run", late, epochs=2)


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.register_buffer("mask", torch.tensor([0.0, 0.0, -math.inf]))

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


def test_what_is_finite_is_not_accused(tmp_path: Path) -> None:
    result = Trainer(Masked(), DATA, loss=mean, device="cpu", watch=()).fit()
    assert result.finite
    assert result.divergence == ""
    fit(tmp_path / "run")
    assert fit(tmp_path / "run", resume="auto").finite, "a run that is done has no last loss"
    skipped = fit(tmp_path / "guarded", diverging, plugins=["finite_guard"])
    assert (skipped.finite, skipped.skipped) == (True, 2)


def test_the_plan_tells_which_end_is_the_best_and_without_a_directory_that_it_is_idle(tmp_path: Path) -> None:
    facts = []
    for number, name in enumerate(("loss", "max:loss")):
        fit(tmp_path / str(number), checkpoint_best=name, val=DATA)
        facts.append(json.loads((tmp_path / str(number) / "plan.json").read_text())["facts"]["best checkpoint"])
    assert facts == ["of the lowest loss, by its name; max:NAME for the other end", "of the highest loss"]
    with pytest.warns(AccelWarning, match="checkpoint_best has no effect"):
        Trainer(nn.Linear(3, 3), DATA, DATA, loss=mean, checkpoint_best="loss", watch=(), device="cpu").fit()


@pytest.mark.parametrize(("accepted", "code"), [(False, 1), (True, 0)])
def test_the_exit_code_of_a_run_that_ends_with_nan(
    accepted: bool, code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["+plugins=[sgd]", "plugins.sgd.lr=1e30", "epochs=1", "task.width=4", f"out={tmp_path / 'run'}", "device=cpu"]
    assert main([*words, *["resume.allow=[nonfinite]"] * accepted]) == code
    assert ("not finite" in capfd.readouterr().err) is not accepted


@pytest.mark.parametrize("settings", [{}, {"plugins": ["ema", "clip", "adamw"]}, {"plugins": ["progress"]}], ids=str)
def test_what_a_run_held_is_free_as_soon_as_its_result_is(settings: dict[str, Any], tmp_path: Path) -> None:
    fit(tmp_path / "first", **settings)  # what is imported and kept for the process
    gc.collect()
    gc.disable()
    try:
        model = ref(fit(tmp_path / "run", **settings).model)
        assert model() is None, [type(owner) for owner in gc.get_referrers(model())]
    finally:
        gc.enable()
