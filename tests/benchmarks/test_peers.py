"""The comparison with peers runs, and what it says of accel is what it keeps."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.forked_process import run_script

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))


@pytest.mark.slow
def test_accel_keeps_every_promise(tmp_path: Path) -> None:
    out = tmp_path / "peers.json"
    done = run_script(ROOT / "benchmarks/peers.py", "--only", "accel", "--out", out, cwd=tmp_path)
    assert done.code == 0, done.stderr
    seen = json.loads(out.read_text())["peers"]["accel"]
    assert {name: verdict["kept"] for name, verdict in seen.items()} == dict.fromkeys(seen, True), seen
    assert len(seen) == 8
    assert "| accel |" in out.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("windows", [1.0, 0.5]), ("windows", [1.0]), ("skipped_average", 4), ("skipped_rate", [1.0, 0.5]), ("ticks", [8, 2]),
        ("ticks", ["no average", 8]), ("fused_clip", ""), ("order", 2), ("reads", 0.5), ("reads_fp16", 1.0),
    ],
)  # fmt: skip
def test_what_peers_do_wrong_counts_as_wrong(name: str, wrong: object) -> None:
    from promises import PROMISES

    assert not PROMISES[name].kept(wrong)


def test_a_peer_that_fails_keeps_nothing_and_one_that_lacks_it_is_not_judged() -> None:
    from peers import verdicts

    actual = verdicts({"order": {"failed": "RuntimeError"}, "reads": {"lacks": "has none"}})
    assert [seen["kept"] for seen in actual.values()] == [False, None]
