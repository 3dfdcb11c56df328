from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from accel.plugins.csv import CSV, padded, position
from accel.system import atomic_files
from accel.testing import fit_toy


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_every_line_has_a_cell_for_each_column(tmp_path: Path) -> None:
    fit_toy([CSV(every=1)], out=tmp_path)
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("update,time,train/loss,train/learning_rate")
    assert {line.count(",") for line in lines} == {len(lines[0].split(",")) - 1}
    assert [row["update"] for row in rows(tmp_path) if row["val/loss"]] == ["6", "12"]


def test_a_fresh_run_forgets_what_an_old_one_left(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("mine,not yours\n1,2\n")
    fit_toy([CSV(every=1)], out=tmp_path, epochs=1)
    assert [row["update"] for row in rows(tmp_path)] == ["1", "2", "3", "4", "5", "6", "6"]


def test_names_of_columns_that_the_disk_refuses_are_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = atomic_files.write
    refused = []

    def refuse(path: Path, data: bytes, place: str = "") -> None:
        if path.name == "metrics.csv" and len(refused) < 3:
            refused.append(path)
            raise OSError(28, "No space left on device")
        write(path, data, place)

    monkeypatch.setattr(atomic_files, "write", refuse)
    run: dict[str, Any] = {"checkpoint_every": 2}
    fit_toy([CSV(every=1)], out=tmp_path, stop=3, **run)
    assert len(refused) == 3
    fit_toy([CSV(every=1)], resume=tmp_path, **run)
    assert [row["update"] for row in rows(tmp_path) if row["train/loss"]] == list(map(str, range(1, 13)))


def test_a_line_tells_what_it_is_of() -> None:
    assert position(b"12,1.5,0.25,7\n") == (12, True)
    assert position(b"12,1.5,,7\n") == (12, False)
    assert padded(b"12,1.5,", 5) == b"12,1.5,,,\n"
    for odd in (b"update,time,train/loss\n", b"\0\0\0\n", b"\n", b"12,1.5\n"):
        with pytest.raises(ValueError):
            position(odd)
