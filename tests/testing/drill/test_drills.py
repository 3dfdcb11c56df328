"""kill -9, signals, damage, a full disk and dead workers, at random instants, on the sets of `benchmarks/drills.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.drill_length import LONG
from tests.support.forked_process import run_script

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[3] / "benchmarks/drills.py"
sys.path.append(str(SCRIPT.parent))
import drill_sets  # type: ignore[import-not-found]  # noqa: E402

FEWEST = 5
"""Updates and evaluations of a short run, at least."""
STRIKES = {"kill": 4, "term": 3, "corrupt": 1, "disk": 1, "worker": 1}
"""Of each kind in all, at least; of `disk` trials."""


def drill(folder: Path, *kinds: str, sets: Sequence[str] = ()) -> list[dict[str, object]]:
    """The results; what fails shows its seed, and how it differed."""
    words = ["--kinds", *kinds, *(["--sets", *sets] if sets else []), *([] if LONG else ["--quick"])]
    words += ["--within", "120", "--out", str(folder / "drills.json")]
    ended = run_script(SCRIPT, *words, cwd=folder)
    assert ended.code == 0, ended.stderr + ended.stdout
    cases: list[dict[str, object]] = json.loads((folder / "drills.json").read_text())["cases"]
    assert all(case["identical"] == case["trials"] != 0 and case["reference_differs"] == "" for case in cases)
    return cases


@pytest.mark.costly
def test_struck_at_random(tmp_path: Path) -> None:
    """Each set is left alone once for all kinds; `make drill` has the other sets, of which "all" holds most plugins."""
    pytest.importorskip("lmdb", reason="the pictures need the extra lmdb")
    pytest.importorskip("simplejpeg", reason="the pictures need the extra simplejpeg")
    cases = drill(tmp_path, *STRIKES)
    for kind, least in STRIKES.items():
        some = [case for case in cases if case["kind"] == kind]
        # a write may fail where it does no harm
        assert sum(int(str(case["trials" if kind == "disk" else "strikes"])) for case in some) >= least
        assert len(some) == len(drill_sets.chosen(kind, None, not LONG))


SHAPES = list(drill_sets.SHAPE) if LONG else ["everything of shape"]


@pytest.mark.parametrize("name", SHAPES)
def test_killed_after_every_update(name: str, tmp_path: Path) -> None:
    (case,) = drill(tmp_path, "update", sets=[name])
    assert int(str(case["strikes"])) >= FEWEST
    assert int(str(case["anew"])) <= 2, "only before the first checkpoint, which follows the first evaluation"
