"""`python -m accel evaluate`: the metrics of a run, bit for bit, by the code by which it evaluated itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from accel import __main__
from accel.checkpoints import FOLDER
from accel.checkpoints.retention import names
from accel.cli.exit_codes import exit_code
from accel.cli.train_command import main
from tests.support.points_task import TASK

PLUGINS = {
    "plain": [], "schedule_free": ["+plugins=[schedule_free]"],
    "masters and an average": ["+plugins=[master_weights,ema,adamw]", "plugins.ema.decay=0.5"],
    "amp, compiled, read by threads": ["+plugins=[amp,compile,threads,channels_last]", "plugins.compile.backend=eager"],
    "what only training needs": ["+plugins=[accumulate,onecycle,clip,early_stop,finite_guard]", "plugins.early_stop.metric=loss"],
    "resident": ["+plugins=[resident]"],
}  # fmt: skip


def command(*words: str | Path) -> int:
    return exit_code(lambda: __main__.main(["evaluate", *map(str, words)]))


def evaluated(*words: str | Path, out: Path) -> dict[str, Any]:
    """What the command writes with all digits."""
    assert command(*words, f"out={out}") == 0
    content: dict[str, Any] = json.loads(out.read_text())
    return content


def history(run: Path) -> list[dict[str, float]]:
    return [
        {name: value for name, value in row.items() if name != "epoch"}
        for row in json.loads((run / "summary.json").read_text())["history"]
    ]


def files(run: Path) -> dict[str, bytes]:
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_every_checkpoint_has_the_metrics_that_the_run_had(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, rows, saved = files(run), history(run), names(run / FOLDER)
    assert len(saved) == len(rows) == 4
    for name, row in zip(saved, rows, strict=True):
        assert evaluated(run, f"weights={name}", out=tmp_path / "x.json")["metrics"] == row
    best = json.loads((run / "summary.json").read_text())["best"]
    assert best["epoch"] < 4
    content = evaluated(run, out=tmp_path / "x.json")
    assert content == {
        "schema": 1, "run": str(run), "weights": "best", "file": "best.safetensors", "checkpoint": best["checkpoint"],
        "split": "val", "samples": {"val": 64}, "metrics": rows[best["epoch"] - 1], "remarks": [],
    }  # fmt: skip
    assert evaluated(run, "weights=last", out=tmp_path / "x.json")["metrics"] == rows[-1]
    assert evaluated(run / FOLDER / f"{saved[0]}.pt", out=tmp_path / "x.json")["metrics"] == rows[0]
    assert files(run) == before, "nothing is written into the run"
    capsys.readouterr()
    assert command(run) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("val excess ")
    assert f"weights: best of {best['checkpoint']}; 64 samples of val" in " ".join(printed.out.split())


@pytest.mark.filterwarnings("ignore:schedule_free. the running statistics of BatchNorm")
@pytest.mark.parametrize("plugins", PLUGINS)
def test_the_plugins_of_the_run_are_those_of_its_evaluation(plugins: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main([*TASK, *PLUGINS[plugins], "epochs=2", f"out={run}"]) == 0
    (run / "model.safetensors").rename(tmp_path / "weights")
    assert evaluated(run, out=tmp_path / "x.json")["metrics"] == history(run)[-1], "from the checkpoint"
    (tmp_path / "weights").rename(run / "model.safetensors")
    assert evaluated(run, out=tmp_path / "x.json")["metrics"] == history(run)[-1], "from the weights"


def test_other_data_and_other_settings(run: Path, tmp_path: Path) -> None:
    out, row = tmp_path / "x.json", history(run)[-1]
    test = evaluated(run, "weights=last", "evaluates=test", out=out)
    assert test["split"] == "test"
    assert test["metrics"]["accuracy"] != row["accuracy"]
    both = evaluated(run, "weights=last", "evaluates=[val,test]", out=out)
    assert both["samples"] == {"val": 64, "test": 64}
    assert both["metrics"]["val/accuracy"] == row["accuracy"]
    assert both["metrics"]["test/accuracy"] == test["metrics"]["accuracy"]
    shifted = evaluated(run, "weights=last", "task.shift=3", out=out)
    assert shifted["metrics"]["accuracy"] != row["accuracy"]
    assert evaluated(run, "weights=last", "batch_size=64", out=out)["metrics"]["accuracy"] == row["accuracy"]
    two = evaluated(run, "weights=last", "evaluate.batches=2", out=out)
    assert two["metrics"]["accuracy"] != row["accuracy"]
    without = evaluated(run, "weights=last", "~plugins.ema", out=out)
    assert without["metrics"] == row, "the weights are those of the average all the same"


def test_without_checkpoints_the_weights_are_enough(run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(out / FOLDER)
    accuracy = [row["accuracy"] for row in history(run)]
    for which, row in (("best", json.loads((run / "summary.json").read_text())["best"]["epoch"] - 1), ("last", -1)):
        content = evaluated(out, f"weights={which}", out=tmp_path / "x.json")
        assert content["checkpoint"] is None
        assert content["metrics"]["accuracy"] == pytest.approx(accuracy[row], abs=0.1), "but for what the model remembered"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("rum", "did you mean 'run'?"),
        ("epochs=3 run", "evaluate takes a run first, and epochs=3 is a setting"),
        ("run weights=bset", "did you mean 'best'?"),
        ("run weights=best weights=last", "weights is given twice"),
        ("run evaluates=tset", "evaluates=tset: the task has no data of that name"),
        ("run evaluates=train", "'train' is no name of data to evaluate on"),
        ("run epochs=3", "epochs=3 has no effect on an evaluation"),
        ("run checkpoint.best=loss", "has no effect on an evaluation"),
        ("run task.widht=3", "did you mean 'width'?"),
        ("run task.width=9", "the weights are of another model"),
        ("run --epochs=3", "epochs=3"),
        ("run bach_size=3", "'batch_size'"),
        ("run weights", "'weights' is no setting; write NAME=VALUE"),
        ("run out=no/such/x.json", "out=no/such/x.json: cannot write there"),
        ("run/plan.json", "no file of weights"),
        (".", ". has no config.yaml"),
        ("run plugins.sgd.lr=x", "must be a number above 0"),
    ],
)
def test_what_is_mistyped_gets_one_sentence(
    words: str, sentence: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.parent)
    assert command(*words.split()) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.err.startswith("accel: error: ")
    assert printed.err.count("\n") == 1, printed.err


def test_a_run_that_python_started_says_what_to_do(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    (out / "config.yaml").unlink()
    assert command(out) == 2
    assert "its run was started in Python, where accel.load gives its model" in capsys.readouterr().err


def test_a_config_of_another_version_is_named(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    (out / "config.yaml").write_text((out / "config.yaml").read_text() + "of_a_later_version: 3\n")
    assert command(out) == 2
    assert f"{out}/config.yaml: of_a_later_version: of_a_later_version is no setting of a run" in capsys.readouterr().err


def test_classes_that_are_not_those_of_the_run_are_refused(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    record = json.loads((out / "task.json").read_text())
    for classes, words in ((["left", "up"], "up missing; right new to it"), (["right", "left"], "they have another order")):
        (out / "task.json").write_text(json.dumps({**record, "metadata": {"classes": classes}}))
        assert command(out) == 2
        assert f"the classes of the data are not those of the run: {words}" in capsys.readouterr().err


MINE = """
from tests.support.points_task import Points
class Mine(Points):
    def metrics(self, model, batch):
        if self.saved_metadata is None and not model.training and self.shift:
            raise ZeroDivisionError("of the user")
        return super().metrics(model, batch)
class Deaf(Points):
    def data(self, split):
        return super().data(split) if split == "train" else None
"""


def test_errors_of_the_user_are_shown_as_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_points.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("Mine", "Deaf"):
        assert main([*TASK, f"task._target_=own_points.{name}", "epochs=1", f"out={name}"]) == 0
    capsys.readouterr()
    assert command("Mine", "task.shift=1") == 1
    assert "ZeroDivisionError: of the user" in capsys.readouterr().err
    assert command("Deaf") == 2
    assert "there is no held-out data" in capsys.readouterr().err
