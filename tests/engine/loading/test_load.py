"""`accel.load` makes the model of a run by itself, from what its directory keeps of the task."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import accel
from accel.checkpoints import FOLDER
from accel.checkpoints.weights.find_weights import WEIGHTS
from accel.engine.loading.task_record import FILE, TaskRecord
from accel.errors import ConfigError
from accel.trainer import Trainer
from tests.checkpoints.test_changed_checkpoints import another_user
from tests.support.points_task import TARGET, Net, Points

RUN: dict[str, Any] = {"epochs": 1, "batch_size": 16, "device": "cpu", "watch": ()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("loading") / "run"
    Points(width=3, out=path, plugins=["ema"], **RUN).fit()
    return path


def test_the_directory_says_how_the_task_is_made(run: Path) -> None:
    record = json.loads((run / FILE).read_text())
    assert record == {
        "schema": 1,
        "task": TARGET,
        "arguments": {"width": 3, "shift": 0.0},
        "metadata": {"classes": ["left", "right"]},
    }
    before = torch.get_rng_state()
    model = accel.load(run)
    assert torch.equal(before, torch.get_rng_state()), "nothing is drawn"
    assert isinstance(model, Net)
    assert model.layers[0].out_features == 3
    assert not model.training
    assert float(model.centre.norm()) > 0, "what the model remembers beside its state comes back"


def test_a_task_may_be_given_as_a_class_or_an_instance(run: Path) -> None:
    own: Any = accel.load(run)
    for task in (Points, Points(width=3, watch=())):
        other: Any = accel.load(str(run), task=task)
        assert torch.equal(other.layers[0].weight, own.layers[0].weight)
        assert torch.equal(other.centre, own.centre)
    task = Points(width=3, watch=())
    accel.load(run, task=task)
    assert float(task.mean_loss) > 0, "the task's own attributes too"
    with pytest.raises(ConfigError, match="another shape"):
        accel.load(run, task=Points(width=5, watch=()))


def test_the_task_can_tell_that_it_is_loaded(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    init = Points.__init__

    def noting(self: Points, *args: Any, **kwargs: Any) -> None:
        seen.append(self.saved_metadata)
        init(self, *args, **kwargs)

    monkeypatch.setattr(Points, "__init__", noting)
    accel.load(run)
    Points(watch=())
    assert seen == [{"classes": ["left", "right"]}, None]


def edited(run: Path, tmp_path: Path, **content: Any) -> Path:
    """A copy of the run whose task.json says something else."""
    out = Path(shutil.copytree(run, tmp_path / "run"))
    (out / FILE).write_text(json.dumps({**json.loads((out / FILE).read_text()), **content}))
    return out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"schema": 2}, "is of another accel"), ({"more": 1}, "is damaged"),
        ({"task": "__main__.Mine"}, "it was defined in a script"), ({"task": f"{TARGET}s"}, "did you mean 'Points'"),
        ({"task": "no_such_module.Mine"}, "there is no module 'no_such_module' to import"),
        ({"arguments": None}, "is an object, which no file keeps"),
        ({"task": "accel.trainer.Trainer"}, "was given its model in Python"),
        ({"task": "torch.nn.Linear", "arguments": {"in_features": 1, "out_features": 1}}, "is not a subclass of accel.Trainer"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_gets_a_sentence(content: dict[str, Any], sentence: str, run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        accel.load(edited(run, tmp_path, **content))


def test_without_a_record_a_model_is_asked_for(run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    (out / FILE).unlink()
    with pytest.raises(ConfigError, match="pass the model: model="):
        accel.load(out)
    assert isinstance(accel.load(out, model=Net(3)), Net)
    for wrong in (Net, 3):
        with pytest.raises(ConfigError, match=r"model must be a torch.nn.Module, not"):
            accel.load(out, model=wrong)  # type: ignore[arg-type]
    with (
        pytest.raises(ConfigError, match="device=cuda: torch finds no CUDA device")
        if not torch.cuda.is_available()
        else pytest.raises(RuntimeError)
    ):
        accel.load(out, model=Net(3), device="cuda")


class Odd(Points):
    """Keeps what no file can."""

    def metadata(self) -> dict[str, Any]:
        return {"net": nn.Linear(1, 1)}


def test_metadata_that_no_file_can_hold_is_refused_before_the_first_update(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Odd.metadata\(\) must return texts, numbers"):
        Odd(out=tmp_path / "run", **RUN).fit()
    assert not (tmp_path / "run").exists()


def test_a_model_given_in_python_is_given_again(tmp_path: Path) -> None:
    data = TensorDataset(torch.randn(8, 2), torch.zeros(8).long())
    result = Trainer(nn.Linear(2, 2), data, loss=lambda m, b: m(b[0]).square().mean(), out=tmp_path / "run", **RUN).fit()
    model = accel.load(tmp_path / "run", model=nn.Linear(2, 2))
    assert torch.equal(model.weight, result.model.weight)
    assert TaskRecord.read(tmp_path / "run") == TaskRecord("accel.trainer.Trainer", {}, {})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"path": Path(300 * "x")}, r"cannot be read \(File name too long\)"),
        ({"device": "gpu"}, "device must be auto, cpu, cuda, cuda:N, mps or xpu, not 'gpu'"),
        ({"weights": 3}, "weights must be best, last or the name of a checkpoint, not a int"),
        ({"task": "points"}, "task must be an instance or a subclass of accel.Trainer, not a str"),
    ],
)
def test_an_argument_of_the_wrong_kind_gets_one_sentence(given: Any, sentence: str, run: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        accel.load(**{"path": run, **given})


@pytest.mark.parametrize("closed", [".", FOLDER, WEIGHTS])
def test_what_may_not_be_read_is_said_so(closed: str, run: Path) -> None:
    with TemporaryDirectory() as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o755)
        copy = Path(shutil.copytree(run, Path(folder, "run")))
        (copy / closed).chmod(0)
        with another_user(), pytest.raises(ConfigError, match=r"run.* cannot be read \(Permission denied\); let this user read it"):
            accel.load(copy / WEIGHTS if closed == WEIGHTS else copy)
        with another_user(), pytest.raises(ConfigError, match=r"run.* cannot be read \(Permission denied\); let this user read it"):
            Points(init=copy / WEIGHTS if closed == WEIGHTS else copy, **RUN).fit()


def test_a_record_of_other_kinds_is_damaged(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    (copy / FILE).write_text('{"schema": 1, "task": 3, "arguments": {}, "metadata": {}}')
    with pytest.raises(ConfigError, match=r"task.json is damaged"):
        accel.load(copy)
