from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from accel.report.curves import POINTS, draw, read, running_mean

pytestmark = pytest.mark.draws


def write(path: Path, updates: int, **evaluated: float) -> Path:
    rows = [{"update": n, "epoch": 1, "loss": 1 / n, "lr": 0.1, "samples": n} for n in range(1, updates + 1)]
    rows.append({"update": updates, "epoch": 1, **evaluated})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def labels(picture: Path) -> str:
    return " ".join("".join(node.itertext()).strip() for node in ElementTree.parse(picture).iter() if node.tag.endswith("text"))


def test_what_is_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "curves.svg"
    draw(read(write(tmp_path / "metrics.jsonl", 30, test_loss=0.5, test_top_accuracy=0.9)), picture)
    text = labels(picture)
    for label in ("loss (mean per item)", "learning rate", "update", "test top accuracy", "training, smoothed"):
        assert label in text
    assert "T0" not in re.findall(r"<dc:date>(.*)</dc:date>", picture.read_text()), "no date"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.svg", "metrics.jsonl"]


def test_numbers_that_updates_log_are_drawn_where_there_are_any(tmp_path: Path) -> None:
    rows = [{"update": n, "epoch": 1, "loss": 1 / n, "lr": 0.1, "samples": n, "skipped": 0} for n in range(1, 9)]
    for row in rows[::3]:
        row |= {"grad_norm": row["update"] * 2, "update_ratio": None}
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    logged = read(tmp_path / "metrics.jsonl").logged
    assert logged.keys() == {"grad_norm", "update_ratio"}
    assert logged["grad_norm"] == ([1, 4, 7], [2, 8, 14])
    draw(read(tmp_path / "metrics.jsonl"), tmp_path / "curves.svg")
    assert "grad norm" in labels(tmp_path / "curves.svg")


@pytest.mark.slow
def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    source = write(tmp_path / "metrics.jsonl", 30, val_loss=0.5)
    draw(read(source), tmp_path / "one.svg")
    code = "import sys; from pathlib import Path; from accel.report.curves import draw, read"
    code += "; draw(read(Path(sys.argv[1])), Path(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", code, source, tmp_path / "two.svg"], check=True)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_no_updates_no_picture(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").touch()
    draw(read(tmp_path / "metrics.jsonl"), tmp_path / "curves.svg")
    assert not (tmp_path / "curves.svg").exists()


@pytest.mark.parametrize("updates", [1, 2, POINTS, 3 * POINTS + 1])
def test_long_runs_are_thinned_out(updates: int, tmp_path: Path) -> None:
    curves = read(write(tmp_path / "metrics.jsonl", updates, val_loss=0.5))
    assert POINTS / 2 < len(curves.update) <= POINTS or len(curves.update) == updates
    assert curves.update[0] == 1
    assert curves.evaluated == {"val_loss": ([updates], [0.5])}


def test_missing_losses_leave_a_gap(tmp_path: Path) -> None:
    source = write(tmp_path / "metrics.jsonl", 5, val_loss=0.5)
    source.write_text(source.read_text().replace('"loss": 0.5,', '"loss": null,'))
    assert np.isnan(read(source).loss[1])
    draw(read(source), tmp_path / "curves.svg")


def test_a_running_mean() -> None:
    values = np.array([1.0, np.nan, 3.0, 5.0, np.inf])
    assert running_mean(values, 3).tolist() == [1.0, 2.0, 4.0, 4.0, 5.0]
    assert running_mean(values, 1)[:1].tolist() == [1.0]
    assert np.isnan(running_mean(values, 1)[1])
