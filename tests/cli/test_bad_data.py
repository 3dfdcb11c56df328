"""A folder that was spoilt on purpose, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accel.cli.main import main
from tests.data.drawings import drawn


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments of a task on 40 pictures, of which three are bad: empty, truncated, and no picture at all."""
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for number in range(20):
                (tmp_path / "set" / split / name / f"{number:02}.jpg").write_bytes(drawn(24, 20))
    train = tmp_path / "set" / "train"
    (train / "a" / "03.jpg").write_bytes(b"")
    (train / "a" / "07.jpg").write_bytes(drawn(24, 20)[:-30])
    (train / "b" / "11.jpg").write_text("<html>404</html>")
    monkeypatch.chdir(tmp_path)
    return ["task=images", "task.root=set", "task.size=8", "device=cpu", "epochs=1", "batch_size=4", "seed=1", "~plugins.progress"]


def test_by_default_the_first_one_ends_the_run(pictures: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(pictures) == 2
    said = capsys.readouterr().err
    assert said.startswith("accel: error: cannot read the picture set/train/")
    assert "mend the file or take it away, or leave it out: bad_data=skip" in said


def test_too_many_end_it_with_their_number(pictures: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*pictures, "bad_data=skip", "bad_limit=0.05"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("accel: error: 3 of 40 train samples cannot be read, which is above bad_limit=0.05: sample ")
    assert "Traceback" not in said


def test_it_goes_on_without_them_where_it_came_upon_the_first(pictures: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*pictures, "checkpoint.every=1", "out=run"]) == 2
    said = capsys.readouterr().err
    assert said.rstrip().endswith("resume=run"), "it had done some updates, which are not lost"
    assert main([*pictures, "bad_data=skip", "bad_limit=0.1", "resume=run", "out=rest"]) == 0
    assert main([*pictures, "bad_data=skip", "bad_limit=0.1", "out=whole"]) == 0
    rest, whole = (json.loads(Path(name, "summary.json").read_text()) for name in ("rest", "whole"))
    assert rest["bad"] == whole["bad"] == {"train": 3, "val": 0}
    assert rest["metrics"] == whole["metrics"]
    assert Path("rest/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    reasons = [row["why"] for row in whole["sections"]["bad_data"]["rows"]]
    assert sorted(text.partition(": ")[2] for text in reasons) == ["it is empty", "it is truncated", "its format is not known"]
