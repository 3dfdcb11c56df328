"""A folder that was spoilt on purpose, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accel.cli.train_command import main
from accel.data.store import Files
from accel.data.stores.pack_journal import picture_stamps
from tests.support.drawn_images import drawn


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
    message = capsys.readouterr().err
    assert message.startswith("accel: error: cannot read the picture set/train/")
    assert "mend the file or take it away, or leave it out: bad_data=skip" in message


def test_too_many_end_it_with_their_number(pictures: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*pictures, "bad_data=skip", "bad_limit=0.05"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("accel: error: 3 of 40 train samples cannot be read, which is above bad_limit=0.05: sample ")
    assert "Traceback" not in message


@pytest.mark.slow
def test_it_goes_on_without_them_where_it_came_upon_the_first(pictures: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*pictures, "checkpoint.every=1", "out=run"]) == 2
    message = capsys.readouterr().err
    assert message.rstrip().endswith("resume=run"), "it had done some updates, which are not lost"
    assert main([*pictures, "bad_data=skip", "bad_limit=0.1", "resume=run", "out=rest"]) == 0
    assert main([*pictures, "bad_data=skip", "bad_limit=0.1", "out=whole"]) == 0
    rest, whole = (json.loads(Path(name, "summary.json").read_text()) for name in ("rest", "whole"))
    assert rest["bad"] == whole["bad"] == {"train": 3, "val": 0}
    assert rest["metrics"] == whole["metrics"]
    assert Path("rest/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    reasons = [row["why"] for row in whole["sections"]["bad_data"]["rows"]]
    assert sorted(text.partition(": ")[2] for text in reasons) == ["it is empty", "it is truncated", "its format is not known"]


@pytest.mark.parametrize("cached", [[], ["+plugins=[resident]", "plugins.resident.cache=kept"]])
@pytest.mark.slow
def test_a_link_to_nothing_is_a_bad_picture_too(cached: list[str], pictures: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Where its size is asked for by which the data is told from other data, as much as where it is read."""
    for name in ("a/03", "a/07", "b/11", "b/12"):
        Path(f"set/train/{name}.jpg").unlink()
    Path("set/train/a/00.jpg").unlink()
    Path("set/train/a/00.jpg").symlink_to("nowhere")
    assert main([*pictures, *cached]) == 2
    message = capsys.readouterr().err
    assert message.startswith("accel: error: cannot read the picture set/train/a/00.jpg: No such file or directory; ")
    assert "Traceback" not in message
    assert main([*pictures, *cached, "bad_data=skip", "bad_limit=0.1", "out=run"]) == 0
    assert json.loads(Path("run/summary.json").read_text())["bad"] == {"train": 1, "val": 0}
    capsys.readouterr()
    assert main([*pictures, *cached, "bad_data=skip", "bad_limit=0.1", "resume=run"]) == 0, "it is the same data"


def test_what_data_is_told_by_tells_a_link_to_nothing(pictures: list[str]) -> None:
    link, files = Path("set/train/a/00.jpg"), Files(Path("set/train"), ["a", "b"])
    kept = link.read_bytes()
    link.unlink()
    link.symlink_to("nowhere")
    odd = files.fingerprint(), files.outline(), picture_stamps(files)
    link.unlink()
    link.write_bytes(kept)
    mended = files.fingerprint(), files.outline(), picture_stamps(files)
    assert all(one != other for one, other in zip(odd, mended, strict=True))
    assert odd[2][1:] == mended[2][1:], "no other picture is packed anew"
