"""`python -m accel evaluate`: the metrics of a run, bit for bit, by the code by which it evaluated itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import accel
from accel import __main__
from accel.checkpoints import FOLDER
from accel.checkpoints.retention import names
from accel.cli.exit_codes import exit_code
from accel.cli.train_command import main as train


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
    assert evaluated(run, f"weights={saved[1]}", out=tmp_path / "x.json")["metrics"] == rows[1]
    best = json.loads((run / "summary.json").read_text())["best"]
    assert best["epoch"] < 4
    capsys.readouterr()
    content = evaluated(run, out=tmp_path / "x.json")
    printed = capsys.readouterr()
    assert content == {
        "schema": 1, "run": str(run), "weights": "best", "file": "best.safetensors", "checkpoint": best["checkpoint"],
        "split": "val", "samples": {"val": 64}, "metrics": rows[best["epoch"] - 1], "remarks": [],
    }  # fmt: skip
    assert evaluated(run / FOLDER / f"{saved[0]}.pt", out=tmp_path / "x.json")["metrics"] == rows[0]
    assert evaluated(run / FOLDER, out=tmp_path / "x.json") == content
    assert files(run) == before, "nothing is written into the run"
    assert printed.err == ""
    assert printed.out.startswith("val excess ")
    assert f"weights: best of {best['checkpoint']}; 64 samples of val" in " ".join(printed.out.split())


def test_other_data_and_other_settings(run: Path, tmp_path: Path) -> None:
    out, row = tmp_path / "x.json", history(run)[-1]
    both = evaluated(run, "weights=last", "evaluates=[val,test]", out=out)
    assert both["samples"] == {"val": 64, "test": 64}
    assert both["metrics"]["val/accuracy"] == row["accuracy"]
    assert both["metrics"]["test/accuracy"] != row["accuracy"]
    shifted = evaluated(run, "weights=last", "task.shift=3", "evaluate.batches=3", "batch_size=7", out=out)
    assert shifted["metrics"]["accuracy"] != row["accuracy"]
    assert shifted["samples"] == {"val": 21}, "what was evaluated, and not what there is"
    assert evaluated(run, "evaluate.batches=10", "batch_size=7", out=out)["samples"] == {"val": 64}
    without = evaluated(run, "weights=last", "~plugins.ema", out=out)
    assert without["metrics"] == row, "the weights are those of the average all the same"


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
        ("run task.widht=3", "did you mean 'width'?"),
        ("run task.width=9", "the weights are of another model"),
        ("run --epochs=3", "epochs=3"),
        ("run out=no/such/x.json", "out=no/such/x.json: there is no folder no/such to write in"),
        ("run out=", "out= names no file"),
        ("run out=run", "out=run names no file; name one, such as out=run/metrics.json"),
        ("run out=run/plan.json", "out=run/plan.json is a file of the run, which would be lost"),
        ("run weigths=last", "did you mean 'weights'?"),
        ("run evaluates=", "evaluates=: name a split"),
        ("run +plugins=[adamw]", "plugins adamw and sgd both provide Optim; keep one"),
        ("run ~plugins.sgd +plugins=[adamw]", "+plugins=[adamw] has no effect on an evaluation"),
        ("run ~plugins.amp", "~plugins.amp has no effect: amp is not on; leave it out"),
        ("run +plugins=[apm]", "no plugin is called 'apm'; did you mean 'amp'?"),
        ("run task=images", "the config of a run has its task; another takes its class: task._target_=accel.tasks.images.Images"),
        (300 * "x", "cannot be read (File name too long)"),
        ("run/plan.json", "no file of weights"),
        (".", ". has no config.yaml and no task.json"),
        ("run plugins.sgd.lr=1", "plugins.sgd.lr=1 has no effect on an evaluation"),
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
    assert command(out) == 0, "its task.json says how it is made"
    assert evaluated(out, out=tmp_path / "metrics.json")["metrics"] == evaluated(run, out=tmp_path / "own.json")["metrics"]
    assert command(out, "batch_size=3") == 2
    assert "batch_size=3 has no effect: the run in" in capsys.readouterr().err
    record = json.loads((out / "task.json").read_text())
    for task in ("accel.trainer.Trainer", "__main__.Mine", "nowhere.Mine"):
        (out / "task.json").write_text(json.dumps(record | {"task": task}))
        assert command(out) == 2
        assert capsys.readouterr().err.endswith("; accel.load gives its model, to be evaluated in Python\n")


def test_a_config_of_another_version_is_named(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    (out / "config.yaml").write_text((out / "config.yaml").read_text() + "of_a_later_version: 3\n")
    assert command(out) == 2
    assert f"{out}/config.yaml: of_a_later_version: of_a_later_version is no setting of a run" in capsys.readouterr().err


MINE = """
from tests.support.points_task import Points
class Mine(Points):
    def metrics(self, model, batch):
        raise ZeroDivisionError("of the user")
"""


def test_errors_of_the_user_are_shown_as_in_training(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_points.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert command(run, "task._target_=own_points.Mine") == 1
    printed = capsys.readouterr().err
    assert "ZeroDivisionError: of the user" in printed
    assert "evaluate_saved.py" not in printed


def test_plugins_are_named_as_in_training(run: Path, tmp_path: Path) -> None:
    plain = evaluated(run, out=tmp_path / "x.json")["metrics"]
    assert evaluated(run, "+plugins=[threads]", out=tmp_path / "x.json")["metrics"] == plain
    assert evaluated(run, "+plugins=[amp]", "plugins.amp.dtype=bfloat16", out=tmp_path / "x.json")["metrics"] != plain
    config = accel.compose(["+plugins=[amp,ema]"], config_path=str(run))
    assert sorted(config.plugins) == ["amp", "ema", "sgd"]
    assert config.plugins["ema"].settings["decay"] == 0.5, "as the run had it, and not as the file of the plugin has it"
    assert config.plugins["sgd"].settings["lr"] == 10
    bundle = accel.compose(["+plugins=[fast]", "~plugins.ema"], config_path=str(run))
    assert "ema" not in bundle.plugins
    assert len(bundle.plugins) + len(bundle.skipped) > 2
    quick = accel.compose(["+experiment=quick"], config_path=str(run))
    assert (quick.settings.epochs, quick.plugins["onecycle"].settings["max_lr"]) == (8, 0.2)
    assert quick.plugins["sgd"].settings["nesterov"]


def test_a_run_goes_on_from_its_config_with_a_plugin_by_name(run: Path, tmp_path: Path) -> None:
    assert train(["--config-path", str(run), "+plugins=[clip]", "epochs=1", f"out={tmp_path / 'next'}"]) == 0
    rows = json.loads((tmp_path / "next/plan.json").read_text())["rows"]
    assert {"clip", "ema", "sgd"} <= {row["plugin"] for row in rows}
