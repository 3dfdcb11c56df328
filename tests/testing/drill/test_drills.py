"""kill -9, signals, damage, a full disk and dead workers, at random instants, on the sets of `benchmarks/drills.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.drill_length import LONG
from tests.support.forked_process import run_script

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[3] / "benchmarks/drills.py"
KILLS, OTHERS = 8, {"term": 3, "corrupt": 1, "disk": 1, "worker": 1}


def drill(folder: Path, *kinds: str) -> list[dict[str, object]]:
    """The results; what fails shows its seed, and how it differed."""
    words = ["--kinds", *kinds, "--within", "120", "--out", folder / "drills.json", *([] if LONG else ["--quick"])]
    ended = run_script(SCRIPT, *words, cwd=folder)
    assert ended.code == 0, ended.stderr + ended.stdout
    cases: list[dict[str, object]] = json.loads((folder / "drills.json").read_text())["cases"]
    assert all(case["identical"] == case["trials"] != 0 and case["reference_differs"] == "" for case in cases)
    return cases


def test_killed_at_random_instants(tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="the pictures need the extra lmdb")
    pytest.importorskip("simplejpeg", reason="the pictures need the extra simplejpeg")
    cases = drill(tmp_path, "kill")
    assert sum(int(str(case["strikes"])) for case in cases) >= KILLS
    assert len(cases) == (9 if LONG else 4)


@pytest.mark.parametrize("kinds", [["term"], ["corrupt", "disk", "worker"]], ids=" ".join)
def test_struck_otherwise(kinds: list[str], tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="the pictures need the extra lmdb")
    pytest.importorskip("simplejpeg", reason="the pictures need the extra simplejpeg")
    cases = drill(tmp_path, *kinds)
    for kind in kinds:
        what = "trials" if kind == "disk" else "strikes"
        assert sum(int(str(case[what])) for case in cases if case["kind"] == kind) >= OTHERS[kind]
