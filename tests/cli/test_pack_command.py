"""python -m accel pack: what it says, and what it refuses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from accel import __main__
from accel.data.stores.formats import store_at
from accel.errors import ConfigError
from tests.support.drawn_images import write_noise

pytest.importorskip("lmdb", reason="needs the extra lmdb")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`DIR`, with two splits of one chunk, which is encoded in this process, in the working directory."""
    write_noise(tmp_path / "DIR", {"train": 8, "val": 3}, 30, 40)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def pack(*words: str) -> int:
    return __main__.main(["pack", *words])


def test_both_splits_into_the_folder_itself(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack("DIR", "DIR") == 0
    out = capsys.readouterr().out
    assert re.search(r"DIR/train.lmdb +original +16 +\S+kB", out)
    assert re.search(r"DIR/val.lmdb +original +6 ", out)
    assert "these are other pictures" not in out
    assert sorted(path.name for path in Path("DIR").iterdir()) == ["train", "train.lmdb", "val", "val.lmdb"]
    assert pack("--check", "DIR") == 0
    assert capsys.readouterr().out.count("sound") == 2


def test_given_again_it_does_what_is_left(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack("DIR", "DIR") == 0
    Path("DIR/val.lmdb").unlink()
    before = Path("DIR/train.lmdb").stat().st_mtime_ns
    capsys.readouterr()
    assert pack("DIR", "DIR") == 0
    out = capsys.readouterr().out
    assert "DIR/train.lmdb is there already: 16 records" in out
    assert Path("DIR/val.lmdb").exists()
    assert Path("DIR/train.lmdb").stat().st_mtime_ns == before


def test_one_split_into_a_file_shrunk(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack("DIR/train", "small.raw", "--format", "raw", "--short-side", "20", "--workers", "1") == 0
    assert "these are other pictures than those of the source: shrunk to a shorter side of at most 20" in capsys.readouterr().out
    assert store_at(Path("small.raw")).get(0).shape == (20, 27, 3)  # type: ignore[union-attr]
    assert pack("small.raw", "again", "--format", "lmdb", "--encoding", "bmp") == 0
    assert len(store_at(Path("again/small.lmdb"))) == 16


def test_a_dry_run_writes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("DIR/val/cat/0.jpg").write_bytes(b"")
    before = sorted(root.rglob("*"))
    assert pack("DIR", "stores", "--encoding", "jpeg", "--dry-run") == 0
    out = capsys.readouterr().out
    assert re.search(r"stores/train.lmdb +16 +\S+kB +\S+kB +about 0\.\d s", out)
    assert "cannot be packed: cannot read the picture DIR/val/cat/0.jpg" in out
    assert "nothing was written" in out
    assert sorted(root.rglob("*")) == before


def test_check_finds_what_is_damaged(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack("DIR", "DIR", "--format", "raw")
    data = bytearray(Path("DIR/train.raw").read_bytes())
    data[9000] ^= 1
    Path("DIR/train.raw").write_bytes(data)
    Path("DIR/val.raw").write_bytes(Path("DIR/val.raw").read_bytes()[:-7])
    capsys.readouterr()
    assert pack("--check", "DIR") == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "1 damaged: cat/" in out
    assert "is cut short" in out


def test_bad_pictures(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("DIR/train/dog/5.jpg").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"cannot read the picture DIR/train/dog/5.jpg: .*--on-error skip"):
        pack("DIR", "DIR")
    assert not Path("DIR/train.lmdb").exists()
    capsys.readouterr()
    assert pack("DIR", "DIR", "--on-error", "skip") == 0
    out = capsys.readouterr().out
    assert "left out: cannot read the picture DIR/train/dog/5.jpg" in out
    assert re.search(r"DIR/train.lmdb +original +15 +1 ", out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("DIR", "pack takes SRC and DST, and 1 were given"),
        ("DIR DIR --encodng jpeg", "pack has no flag '--encodng'; did you mean '--encoding'?"),
        (
            "DIR DIR --encoding jpg",
            "--encoding must be original or jpeg or raw or bmp or tiled or tiled-lossless, not 'jpg'; did you mean 'jpeg'",
        ),
        ("DIR DIR --workers 0", "--workers must be a whole number from 1 to 1024, not 0"),
        ("DIR DIR --workers two", "--workers must be a whole number from 1 to 1024, not 'two'"),
        ("DIR DIR --quality 50", "--quality has no effect: --encoding original keeps every pixel"),
        ("DIR DIR --short-side 100", "--short-side needs pictures that are encoded anew, and --encoding is original"),
        ("DIR DIR --format raw --encoding jpeg", "--format raw holds pixels as they are; for --encoding jpeg use --format lmdb"),
        ("DIR DIR --encoding jpeg --short-side 9 --max-side 9", "--short-side and --max-side both say how far to shrink"),
        ("nowhere DIR", "nowhere: there is no such folder or store"),
        ("DIR x.lmdb", r"DIR has 2 splits \(train, val\), each of which becomes a file; name a folder"),
        ("DIR/train x.lmdb --format raw", "x.lmdb ends in .lmdb, and --format is raw"),
        ("DIR/train/cat x.lmdb", "DIR/train/cat has no class folders; its pictures belong in cat/<class>/"),
        ("DIR/train/cat/0.jpg x.lmdb", "0.jpg is no store: its name ends in neither"),
        ("--check DIR", "--check found no store"),
        ("--check nothing.lmdb", "--check nothing.lmdb: there is no such file or folder"),
        ("--check DIR nowhere/x.raw", "--check nowhere/x.raw: there is no such file or folder"),
        ("--check DIR/train/cat/0.jpg", "--check DIR/train/cat/0.jpg: it is no store; the name of one ends in .lmdb or .raw"),
    ],
)
def test_what_cannot_work_is_said_in_a_sentence(root: Path, words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pack(*words.split())
    assert sorted(path.name for path in root.iterdir()) == ["DIR"]
    assert sorted(path.name for path in Path("DIR").iterdir()) == ["train", "val"]


def test_help_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert pack("--help") == 0
    out = capsys.readouterr().out
    assert "--short-side PIXELS" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.slow
def test_an_interrupt_leaves_no_traceback(root: Path, forked_commands: None) -> None:
    for number in range(2000):
        Image.new("RGB", (40, 40), (number % 256, 0, 0)).save(root / "DIR" / "train" / "cat" / f"more{number}.jpg")
    words = [sys.executable, "-m", "accel", "pack", "DIR", "DIR", "--workers", "2"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not Path("DIR/train.lmdb.part").exists():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
        out, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("it was done before the interrupt came")
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert "interrupted; give the same command again, and it goes on from there" in err
    assert pack("DIR", "DIR", "--workers", "1") == 0
