"""Every want of docs/guides/shape.md is an example that runs, at most as long as the same program of a peer."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.support.forked_process import run_script
from tests.support.program_lines import lines_of_code
from tests.support.rank_processes import ROOT

EXAMPLES = ROOT / "examples"
WANTS = sorted((EXAMPLES / "shape").glob("[!_]*.py"))
PEERS = sorted((EXAMPLES / "shape/peers").glob("[!_]*.py"))
PACKAGES = {"lightning": "lightning", "hf": "transformers"}
"""The package that a peer's program needs, by the ending of its file."""

pytest.importorskip("sklearn", reason="the examples need the extra demo")


def test_lines_are_counted() -> None:
    text = '"""A page."""\n\nimport a  # b\n\n\ndef f(\n    x\n):\n    """Say."""\n    # why\n    return """1\n    2"""\n'
    assert lines_of_code(text) == 6


@pytest.mark.parametrize("example", WANTS, ids=lambda path: path.stem)
@pytest.mark.slow
def test_it_runs(example: Path, tmp_path: Path) -> None:
    if "from torchmetrics" in example.read_text():
        pytest.importorskip("torchmetrics", reason="it comes with the peers")
    ended = run_script(example, cwd=tmp_path, path=[EXAMPLES], error_on_warning=True)
    assert ended.code == 0, ended.stdout + ended.stderr
    assert ended.stdout.strip(), "an example prints what it shows"


@pytest.mark.parametrize("peer", PEERS, ids=lambda path: path.stem)
def test_it_is_at_most_as_long_as_the_peers(peer: Path) -> None:
    want, _, ending = peer.stem.rpartition("_")
    assert ending in PACKAGES, f"a peer's file is called WANT_{'.py or WANT_'.join(PACKAGES)}.py"
    example = EXAMPLES / f"shape/{want}.py"
    assert lines_of_code(example.read_text()) <= lines_of_code(peer.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda path: path.stem)
def test_a_peers_program_runs(peer: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a peer's warnings are its own
        pytest.importorskip(PACKAGES[peer.stem.rpartition("_")[2]])
    ended = run_script(peer, cwd=tmp_path, path=[EXAMPLES])
    assert ended.code == 0, ended.stdout + ended.stderr


def test_every_example_stands_in_the_guide() -> None:
    guide = (ROOT / "docs/guides/shape.md").read_text()
    for path in [*WANTS, *PEERS]:
        assert f'--8<-- "{path.relative_to(ROOT).as_posix()}"' in guide
