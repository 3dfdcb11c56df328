"""`python -m accel predict`: what the model of a run sees in files, in order, whatever cannot be read."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from contextlib import redirect_stdout
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import accel
from accel import __main__
from accel.cli.exit_codes import exit_code
from accel.cli.saved import prediction_console
from accel.cli.saved.input_files import files_in
from accel.engine.loading.predict import Predictor
from accel.errors import ConfigError
from accel.tasks.images import Images
from tests.checkpoints.test_changed_checkpoints import another_user
from tests.cli.test_closed_output import broken
from tests.support.points_task import Points

POINTS = {f"{name}.txt": f"{x} {y}" for name, x, y in (("a", 3, 3), ("b", -3, -3), ("c", 1, 2), ("d", -1, -4), ("e", 0.1, 0))}


def command(*words: str | Path) -> int:
    return exit_code(lambda: __main__.main(["predict", *map(str, words)]))


@pytest.fixture
def points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of points, in which the test stands."""
    for name, text in POINTS.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> list[dict[str, Any]]:
    """What the command prints as JSON lines."""
    capsys.readouterr()
    assert command(*words, "format=jsonl") == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_row_for_each_file_in_order(run: Path, points: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = list(POINTS)
    predicted = rows(capsys, run, *reversed(given), "batch_size=2")
    assert [row["file"] for row in predicted] == given[::-1]
    model = accel.load(run)
    with torch.inference_mode():
        for row in predicted:
            point = torch.tensor([[float(word) for word in POINTS[row["file"]].split()]])
            probabilities = model(point).double().softmax(1)[0]
            assert row["class"] == ("left", "right")[int(probabilities.argmax())]
            assert row["probability"] == pytest.approx(float(probabilities.max()), abs=1e-6)
    shutil.rmtree(points / "none", ignore_errors=True)
    both = rows(capsys, run, "a.txt", "top=5")
    assert set(both[0]) == {"file", "class", "probability", "class_2", "probability_2"}, "there are no more classes than two"
    assert both[0]["probability"] + both[0]["probability_2"] == pytest.approx(1)
    assert [row["file"] for row in rows(capsys, run, points)] == [str(points / name) for name in sorted(given)]


def test_the_forms_have_the_same_rows(run: Path, points: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = rows(capsys, run, *POINTS, "top=2")
    assert command(run, *POINTS, "top=2", "format=csv") == 0
    table = list(csv.DictReader(StringIO(capsys.readouterr().out)))
    assert [{name: str(value) for name, value in row.items()} for row in expected] == table
    assert command(run, *POINTS, "batch_size=2", "weights=last", "device=cpu") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["file", "class", "probability"]
    assert [line[0] for line in lines[1:]] == list(POINTS)


def test_what_cannot_be_read_is_a_line_and_the_others_are_predicted(
    run: Path, points: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (points / "bad.txt").write_text("1 2 3")
    (points / "worse.txt").write_text("one two")
    assert command(run, "a.txt", "bad.txt", "nowhere.txt", "worse.txt", "b.txt", "format=csv") == 1
    printed = capsys.readouterr()
    assert [line.partition(",")[0] for line in printed.out.splitlines()] == ["file", "a.txt", "b.txt"]
    assert printed.err.splitlines() == [
        "accel: error: bad.txt has 3 numbers, and a point has 2",
        "accel: error: nowhere.txt cannot be read: No such file or directory",
        "accel: error: worse.txt cannot be read: could not convert string to float: 'one'",
    ]
    assert command(run, "bad.txt") == 1
    assert capsys.readouterr().out == ""


def test_names_come_from_standard_input_as_they_are_asked_for(
    run: Path, points: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def lines() -> Any:
        for name in ["a.txt", "", "b.txt", "c.txt"]:
            asked.append(name)
            yield f"{name}\r\n".encode()
        shown.append(capsys.readouterr().out)

    class Input:
        buffer = lines()

    shown: list[str] = []
    monkeypatch.setattr(sys, "stdin", Input())
    assert command(run, "d.txt", "-", "batch_size=1", "format=csv") == 0
    assert asked == ["a.txt", "", "b.txt", "c.txt"]
    assert [line.partition(",")[0] for line in shown[0].splitlines()] == ["file", "d.txt", "a.txt", "b.txt", "c.txt"], "at once"
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"")))
    assert command(run, "-") == 0


def test_it_ends_when_nobody_reads_on(run: Path, points: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Input:
        buffer = (asked.append(name) or f"{name}\n".encode() for name in ["a.txt"] * 50)  # type: ignore[func-returns-value]

    monkeypatch.setattr(sys, "stdin", Input())
    with broken("left") as stream, redirect_stdout(stream):
        assert command(run, "-", "batch_size=2") == 0
    assert len(asked) == 2, "the first batch could not be printed"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("rum a.txt", "did you mean 'run'?"),
        ("run", "predict takes files behind the run"),
        ("run a.txt format=jsnl", "did you mean 'jsonl'?"),
        ("run a.txt frmat=csv", "frmat is no setting of predict; did you mean 'format'?"),
        ("run a.txt top=0", "top must be"),
        ("run a.txt top=two", "top must be"),
        ("run a.txt device=gpu", "device must be auto, cpu, cuda"),
        ("run empty", "empty holds no file"),
        ("run a.txt weights=lst", "did you mean 'last'?"),
        ("run - -", "can be read once"),
        ("run a.txt task.width=3", "no setting of predict"),
    ],
)
def test_what_is_mistyped_gets_one_sentence(
    words: str, sentence: str, run: Path, points: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (points / "run").symlink_to(run)
    (points / "empty").mkdir()
    assert command(*words.split()) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.err.startswith("accel: error: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_file_may_have_a_name_like_a_setting(run: Path, points: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("a.txt", "x=1.txt")
    assert rows(capsys, run, "x=1.txt")[0]["file"] == "x=1.txt"


def test_hidden_files_and_other_kinds_are_left_out_of_folders(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/.hidden.png", "a.txt", ".git/x.png", "c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "again").symlink_to(tmp_path)
    given = ["c.jpg", "gone.png", "b/2.PNG"]
    assert list(files_in(tmp_path, Images.suffixes)) == [str(tmp_path / name) for name in given], "a pipe would be waited for"
    assert len(list(files_in(tmp_path, None))) == 4


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    image = pytest.importorskip("PIL.Image")
    generator = torch.Generator().manual_seed(0)
    for number in range(12):
        for split in ("train", "val"):
            for name, level in (("dark", 0), ("light", 128)):
                folder = tmp_path / "data" / split / name
                folder.mkdir(parents=True, exist_ok=True)
                pixels = torch.randint(level, level + 128, (18, 20, 3), generator=generator, dtype=torch.uint8)
                image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
    return tmp_path


def test_pictures_are_predicted_as_they_were_evaluated_without_the_data(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = pictures / "run"
    task = {"root": str(pictures / "data"), "size": 16, "model": "airnet_s", "crop": "resized", "views": 2}
    result = Images(**task, epochs=1, batch_size=8, device="cpu", watch=(), out=run, plugins=["adamw"]).fit()
    accuracy = result.metrics["accuracy"]
    (pictures / "data/val").rename(pictures / "shown")
    shutil.rmtree(pictures / "data")
    (pictures / "shown/dark/broken.png").write_bytes(b"no picture")
    predicted = rows(capsys, run, pictures / "shown", "batch_size=8", code=1)
    assert len(predicted) == 24
    right = [Path(row["file"]).parent.name == row["class"] for row in predicted]
    assert sum(right) / 24 == pytest.approx(accuracy)
    assert command("run", "shown") == 2, "there is no such run here"
    capsys.readouterr()
    shutil.move(pictures / "shown/dark/broken.png", pictures / "broken.png")
    assert command(run, pictures / "broken.png") == 1
    assert "broken.png" in capsys.readouterr().err


def predictor(output: Any, classes: list[str] | None = None, **settings: Any) -> Predictor:
    """Of a task that predicts `output`."""

    class Fixed(Points):
        def predict(self, model: nn.Module, batch: Tensor) -> Any:
            return output

    task = Fixed(watch=())
    task.saved_metadata = {"classes": classes}
    return Predictor(task, nn.Linear(2, 2), torch.device("cpu"), **settings)


SAMPLES = [torch.zeros(2), torch.zeros(2)]


def test_outputs_of_every_form() -> None:
    assert predictor(torch.tensor([1.5, 2.5])).rows(SAMPLES) == [{"value": 1.5}, {"value": 2.5}]
    assert predictor(torch.tensor([[1], [2]])).rows(SAMPLES) == [{"value": 1}, {"value": 2}]
    assert predictor(torch.ones(2, 3)).rows(SAMPLES)[1] == {"value_1": 1.0, "value_2": 1.0, "value_3": 1.0}
    assert predictor([{"box": torch.ones(2), "kind": "x"}] * 2).rows(SAMPLES)[0] == {"box": [1.0, 1.0], "kind": "x"}
    tied = predictor(torch.zeros(2, 2), ["no", "yes"]).rows(SAMPLES)
    assert tied == [{"class": "no", "probability": 0.5}] * 2, "the first of equals"
    nan = predictor(torch.full((2, 2), float("nan")), ["no", "yes"]).rows(SAMPLES)
    assert json.loads(prediction_console.PredictionTable("jsonl").text(nan[:1]))["probability"] is None


@pytest.mark.parametrize("output", [torch.tensor([1.5, 2.5]), torch.ones(2, 3), [{"kind": "x"}] * 2])
@pytest.mark.parametrize("top", [1, 3])
def test_classes_where_there_are_none_are_refused(output: Any, top: int) -> None:
    with pytest.raises(ConfigError, match=f"^top={top} has no effect: Fixed predicts no classes; leave it out$"):
        predictor(output, top=top).rows(SAMPLES)


@pytest.mark.parametrize(
    "output", [None, torch.ones(3, 2), torch.tensor(1.0), [{}], ["a", "b"], torch.ones(2, 2, 2), torch.ones(2, 101)]
)
def test_what_is_no_prediction_is_refused(output: Any) -> None:
    with pytest.raises(ConfigError, match=r"Fixed.predict\(model, batch\) returned .* for 2 samples; return scores"):
        predictor(output).rows(SAMPLES)


def test_samples_that_make_no_batch_are_refused() -> None:
    with pytest.raises(ConfigError, match="the input data gives samples that make no batch"):
        predictor(torch.ones(2)).rows([torch.zeros(2), torch.zeros(3)])


def test_a_task_that_reads_no_files_says_what_to_define(run: Path, points: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from accel.engine.task import Task

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Points, "sample_of", Task.sample_of)
        assert command(run, "a.txt") == 2
    assert "Points does not say how a file is read: define sample_of(path)" in capsys.readouterr().err


def test_a_name_that_is_too_long_is_a_file_that_cannot_be_read(run: Path, points: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["file"] for row in rows(capsys, run, 300 * "x", "a.txt", code=1)] == ["a.txt"]


def test_a_run_that_has_come_to_no_checkpoint_is_told_from_another_folder(
    run: Path, points: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (points / "young").mkdir()
    shutil.copy(run / "plan.json", points / "young")
    assert command("young", "a.txt") == 2
    assert "its run has not come to a checkpoint; go on with it by resume=auto out=young" in capsys.readouterr().err


def test_a_folder_that_may_not_be_read_is_named() -> None:
    with TemporaryDirectory() as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o755)
        Path(folder, "a.txt").write_text("3 3")
        Path(folder, "closed").mkdir(mode=0)
        with another_user():
            first, closed = files_in(Path(folder), None)
    assert first == f"{folder}/a.txt"
    assert str(closed) == f"{folder}/closed cannot be read: Permission denied"


def test_a_folder_is_read_when_it_is_its_turn(tmp_path: Path) -> None:
    for name in ("b/1.txt", "a/2.txt", "a/x/3.txt", "0.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = files_in(tmp_path, None)
    assert next(names) == f"{tmp_path}/0.txt"
    (tmp_path / "b/0.txt").touch()  # nobody has looked there yet
    shutil.rmtree(tmp_path / "a/x")
    assert [*map(str, names)] == [f"{tmp_path}/{name}" for name in ("a/2.txt", "b/0.txt", "b/1.txt")]


def test_rows_come_before_the_next_folder_is_read(
    run: Path, points: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (points / "z").mkdir()
    (points / "z/f.txt").write_text("1 1")
    shown: list[str] = []
    read_folder = os.scandir

    def scandir(place: str) -> Any:
        if str(place).startswith(str(points)):
            shown.append(capsys.readouterr().out)
        return read_folder(place)

    monkeypatch.setattr("accel.cli.saved.input_files.os.scandir", scandir)
    assert command(run, points, "batch_size=5", "format=csv") == 0
    assert [len(text.splitlines()) for text in shown] == [0, 6], "the names of the columns, and five rows"
    with broken("left") as stream, redirect_stdout(stream):
        shown.clear()
        assert command(run, points, "batch_size=5") == 0
    assert len(shown) == 1, "nobody reads on: the second folder is left alone"


def test_an_empty_folder_beside_others_is_a_line(run: Path, points: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (points / "empty").mkdir()
    assert [row["file"] for row in rows(capsys, run, "empty", "a.txt", code=1)] == ["a.txt"]
    assert command(run, "empty", "a.txt") == 1
    assert capsys.readouterr().err == "accel: error: empty holds no file\n"
