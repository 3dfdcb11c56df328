"""The benchmark of time to accuracy runs both arms to the target, and says where one does not come."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import accel
from tests.support.forked_process import run_script

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "cifar10.py"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    drawn = pytest.importorskip("tests.support.drawn_images", reason="the pictures need the extra images", exc_type=ImportError)
    folders: Path = drawn.write_class_folders(tmp_path / "pictures")
    return folders


def test_results(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "cifar10.json"
    ended = run_script(SCRIPT, root, "--seeds", "1", "--target", "0", "--out", out, cwd=tmp_path)
    assert ended.code == 0, ended.stderr
    result = json.loads(out.read_text())
    for arm in result["arms"].values():
        (run,) = arm["runs"]
        assert run["epochs"] == 1, "the first evaluation reaches a target of 0, and ends the run"
        assert 0 < run["opening"] + run["evaluation"] < run["seconds"] == run["history"][0]["seconds"]
        assert arm["mean"] == round(run["seconds"], 2)
        assert 0 <= run["data_share"] <= 100
    assert result["ratios"]["median"] > 0
    assert "| recipe | 0 |" in out.with_suffix(".md").read_text()


def test_a_target_out_of_reach_is_said_to_be(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import cifar10  # type: ignore[import-not-found]

    arms = cifar10.ARMS["cpu"]
    monkeypatch.setitem(arms, "plain", [*arms["plain"], "epochs=2"])
    run = cifar10.timed("plain plugins.sgd.lr=0.5", "cpu", root, seed=0, target=2.0)
    assert run["seconds"] is None
    assert run["epochs"] == 2
    assert "mean" not in cifar10.summed(arms["plain"], [run])
    assert cifar10.ratios({"plain": [run], "recipe": [run]}) is None
    for arms in cifar10.ARMS.values():
        for words in arms.values():
            accel.compose([*words, f"task.root={root}"])
    del sys.modules["cifar10"]
