"""`accel.export`: of a trainer that has run and of run directories, with outcomes that draw themselves; misuse is a sentence."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import accel
from accel.export.run.exports import Exports
from tests.support.exported_runs import skip_missing
from tests.support.odd_models import OddTask
from tests.support.points_task import Points

pytestmark = pytest.mark.slow
POINTS: dict[str, Any] = {"epochs": 1, "batch_size": 20, "device": "cpu", "watch": ()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Points:
    """A trainer that has run, whose directory has a space and letters beyond ASCII in its name."""
    trainer = Points(out=str(tmp_path_factory.mktemp("run") / "ein Lauf, früh"), plugins=["ema"], **POINTS)
    trainer.fit()
    return trainer


@pytest.fixture
def out(trained: Points) -> Path:
    return Path(str(trained.settings.out))


def test_a_trainer_that_has_run_is_exported_and_stays_as_it_is(trained: Points, out: Path) -> None:
    before, drawn = dict(vars(trained)), torch.get_rng_state()
    exports = accel.export(trained, ["pt2", "torchscript"], seconds=0)
    assert isinstance(exports, Exports)
    assert [outcome.target for outcome in exports] == ["pt2", "torchscript"]
    assert exports.hold
    outcome = exports["pt2"]
    assert (outcome.status, outcome.folder, len(exports)) == ("holds", out / "export/pt2", 2)
    assert outcome.proof is not None
    assert outcome.proof.samples == 64
    assert vars(trained) == before
    assert torch.equal(torch.get_rng_state(), drawn)
    for text in (repr(exports), exports._repr_html_()):
        assert "holds" in text
        assert "export/pt2" in text.replace("\n", "")
    with pytest.raises(accel.ConfigError, match="there is no export to pt3; did you mean 'pt2'"):
        exports["pt3"]


def test_a_run_directory_says_how_its_task_is_made(out: Path) -> None:
    for more in ({}, {"task": Points}, {"task": Points(**POINTS)}, {"model": Points(watch=()).model()}):
        exports = accel.export(out, "torchscript", seconds=0, **more)  # type: ignore[arg-type]
        assert exports["torchscript"].status == "holds"


def test_a_model_that_was_given_in_python_is_exported_with_its_trainer(tmp_path: Path) -> None:
    task = Points(watch=())
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    run = {"model": net, "data": task.data("train"), "val": task.data("val"), "loss": task.loss, "out": str(tmp_path / "run")}
    trainer = accel.Trainer(**run, **POINTS)  # type: ignore[arg-type]
    trainer.fit()
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    assert accel.export(trainer, "torchscript", seconds=0).hold
    assert accel.export(tmp_path / "run", "torchscript", task=trainer, seconds=0).hold
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    with pytest.raises(accel.ConfigError, match=r"was given its model in Python; pass a trainer made like the one of the run"):
        accel.export(tmp_path / "run", "torchscript")


@pytest.mark.parametrize("name", ["pt2", "onnx"])
def test_tensors_may_stand_in_anything_and_weights_be_made_of_anything(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    skip_missing(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the older weight_norm
        trainer = OddTask(updates=2, batch_size=4, device="cpu", watch=(), out=str(tmp_path / "run"))
        trainer.fit()
        (outcome,) = accel.export(trainer, name, seconds=0)
    assert outcome.status == "holds", outcome.reason
    assert outcome.proof is not None
    assert outcome.proof.metrics == pytest.approx(outcome.proof.export_metrics, rel=1e-4)
    assert "forward(self" not in "".join(capfd.readouterr()), "torch's graphs are nobody's business"


def test_misuse_is_a_sentence(trained: Points, out: Path) -> None:
    misuse: Any = accel.export
    for match, call in {
        r"export takes a run directory or an accel.Trainer, not the class Points; make one: Points\(": lambda: misuse(Points),
        "export takes a run directory or an accel.Trainer, not a int": lambda: misuse(3),
        r"export needs run: export\(run=": lambda: misuse(),
        "target=onx: there is no such target; did you mean 'onnx'": lambda: misuse(out, "onx"),
        "target must be the name of a target, or several": lambda: misuse(out, []),
        "tolerence is no setting of an export; did you mean 'tolerance'": lambda: misuse(out, tolerence=1),
        "tolerance must be a number above 0": lambda: misuse(out, "pt2", tolerance=0),
        "task must be an instance or a subclass of accel.Trainer, not a int": lambda: misuse(out, "pt2", task=3),
        "model must be a torch.nn.Module, not a int": lambda: misuse(out, "pt2", model=3),
        "weights must be a name, not a int": lambda: misuse(out, "pt2", weights=3),
        "the trainer has no run directory.*give it out=DIR": lambda: misuse(Points(watch=()), "pt2"),
        "export is given a trainer twice": lambda: misuse(trained, "pt2", task=trained),
        "the weights are of another model": lambda: misuse(out, "pt2", model=nn.Linear(2, 2)),
        "does not exist": lambda: misuse(out / "nowhere", "pt2"),
    }.items():
        with pytest.raises(accel.ConfigError, match=match):
            call()


def test_the_command_rebuilds_a_run_of_python_or_names_the_way(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from accel import __main__
    from accel.cli.exit_codes import exit_code

    def command(*words: object) -> int:
        return exit_code(lambda: __main__.main(["export", *map(str, words)]))

    assert command(out, "target=torchscript", "seconds=0") == 0
    assert command(out, "target=torchscript", "batch_size=3") == 2
    assert "batch_size=3 has no effect: the run in" in capsys.readouterr().err
    text = (out / "task.json").read_text()
    (out / "task.json").write_text(text.replace("tests.support.points_task", "__main__"))
    try:
        assert command(out, "target=torchscript") == 2
    finally:
        (out / "task.json").write_text(text)
    error = capsys.readouterr().err
    assert "it was defined in a script; export it in Python, with a trainer made like the one of the run: accel.export(" in error
    assert error.count("\n") == 1
