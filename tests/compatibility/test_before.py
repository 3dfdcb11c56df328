"""Runs that accel wrote before its files were moved and its classes renamed are taken up, with the caches that they left.

`make_fixtures.py` says how they were made. They are given to commands and public names alone, so that a file that moves breaks none
of these tests, and one that takes a name along that stands in a checkpoint, or in the name of a cache, breaks one.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import TCPStore

import accel
from accel import compose
from accel.cli.train_command import main
from accel.plugins import EMA, AdamW
from tests.compatibility.unpacked import QUICK, expected, publish
from tests.support.forked_process import run_all_forked

pytestmark = pytest.mark.slow

RUNS: dict[str, dict[str, Any]] = expected()["runs"]
COMMANDS = [name for name in RUNS if name != "script"]
NEEDS = {"plain": "tensorboard", "digits": "sklearn", "lmdb": "lmdb", "cached": "lmdb", "resident": "lmdb", "remote": "fsspec"}
"""By run: the package that it cannot do without."""
TOLERANCE = {"half": 1e-2, "masters": 1e-2}
"""How far weights may be from those that another CPU came to; 16-bit arithmetic differs in more than float32's last bits."""
CACHES = {"cached": "cache/pictures", "resident": "tensors", "tars": "home/accel/shards", "tfrecord": "home/accel/shards",
          "remote": "home/accel/remote"}  # fmt: skip
"""By run: the folder of what an earlier run has left for it."""
USED = {"cached": "24 of 24 there already", "resident": "from tensors"}
"""What the plan says of it then."""


def needed(name: str) -> None:
    """Skips where a package is not there."""
    pytest.importorskip(NEEDS.get(name, "accel"))
    if "task=images" in RUNS[name]["words"]:
        pytest.importorskip("PIL.Image", reason="the pictures need the extra images")


def newest(out: Path) -> Path:
    """The .pt of the last checkpoint of a run."""
    return sorted(out.glob("checkpoints/*.pt"))[-1]


def beside(checkpoint: Path) -> dict[str, Any]:
    """What stands beside it."""
    text: dict[str, Any] = json.loads(checkpoint.with_suffix(".json").read_text())
    return text


def lines(file: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


NOTHING = object()


def lacking(was: Any, now: Any, place: str = "") -> list[str]:
    """Where a state lacks a name that an older one has, or holds something of another shape or format under it."""
    if isinstance(was, torch.Tensor):
        same = isinstance(now, torch.Tensor) and (was.shape, was.dtype) == (now.shape, now.dtype)
    elif isinstance(was, dict | list | tuple):
        if not isinstance(now, dict | list | tuple):
            return [place]
        pairs = dict(was.items() if isinstance(was, dict) else enumerate(was))
        others = dict(now.items() if isinstance(now, dict) else enumerate(now))
        return [text for key, value in pairs.items() for text in lacking(value, others.get(key, NOTHING), f"{place}/{key}")]
    else:
        same = isinstance(now, type(was))
    return [] if same else [place]


def named_now(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity, in which the fingerprint of a cached store has the kind of the store inside: of the runs here, LMDB."""
    data = {split: {"LMDBStore" if name == "Keeping" else name: value for name, value in facts.items()}
            for split, facts in identity["data"].items()}  # fmt: skip
    return identity | {"data": data}


def went_on(name: str, out: Path, whole: bool = True) -> None:
    """The run in `out` went on where it was stopped, as the run that it is, and came to what it would have come to."""
    began, ended = newest(Path("runs", name)), newest(out)
    facts = json.loads((out / "plan.json").read_text())["facts"]
    assert facts["resume"].startswith(f"{began.stem} of "), "and not from the beginning"
    assert json.loads((out / "summary.json").read_text())["updates"] == RUNS[name]["updates"] > beside(began)["progress"]["step"]
    told_now = {key: value for key, value in beside(ended)["identity"].items() if key not in ("code", "git")}  # kept since
    assert told_now == named_now(beside(began)["identity"]), "every name by which the run is told"
    if whole:
        was, now = (torch.load(file, weights_only=True) for file in (began, ended))
        assert now.keys() == was.keys()
        for part in ("model", "parts", "bad"):
            assert not lacking(was[part], now[part]), "every name under which a part keeps its state"
    wanted, rows = lines(Path("final", f"{name}.jsonl")), lines(out / "metrics.jsonl")
    assert [row.keys() for row in rows] == [row.keys() for row in wanted]
    tolerance = TOLERANCE.get(name, 1e-5)
    for row, other in zip(rows, wanted, strict=True):
        assert row == pytest.approx(other, rel=10 * tolerance, abs=10 * tolerance)
    weights, others = load_file(out / "model.safetensors"), load_file(Path("final", f"{name}.safetensors"))
    assert weights.keys() == others.keys()
    for key, weight in weights.items():
        torch.testing.assert_close(weight, others[key], rtol=tolerance, atol=tolerance)


def silent(texts: list[str]) -> None:
    """Of what is said about going on, nothing but that versions differ."""
    assert all(text.endswith("the last bits of the result may differ") for text in texts if "resume=" in text), texts


def state(cache: Path) -> dict[str, tuple[int, int]]:
    """Every file in a folder, and by what one is told from another that took its place; one that is used may be marked as such."""
    stats = {str(path): path.stat() for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"}
    return {path: (facts.st_ino, facts.st_size) for path, facts in stats.items()}


def copied(name: str, to: str) -> Path:
    return Path(shutil.copytree(Path("runs", name), Path(to, name)))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_goes_on(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    needed(name)
    if name == "remote":
        publish(Path("pictures"), blank=True)
    cache = Path(CACHES.get(name, "nowhere"))
    before, out = state(cache), copied(name, "again")
    assert main([*RUNS[name]["words"], *QUICK, f"out={out}", "resume=auto"]) == 0, capsys.readouterr().err
    silent([line for line in capsys.readouterr().err.splitlines() if line.startswith("accel: warning")])
    went_on(name, out, whole=name != "ranks")
    after = state(cache)
    if name == "tars":  # of which other members count: links, the archives behind the first, nothing hidden
        assert len(after) == len(before) + 4, "an index of each shard is made anew, once"
        after = {path: facts for path, facts in after.items() if path in before}
    assert after == before, "what was kept is used, and nothing is made anew"
    assert bool(before) == (name in CACHES)
    assert USED.get(name, "") in (out / "plan.json").read_text()


def test_a_run_of_two_ranks_goes_on_with_two() -> None:
    out = copied("ranks", "both")
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # torchrun's

    def rank(number: int) -> None:
        os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
        sys.exit(main([*RUNS["ranks"]["words"], *QUICK, f"out={out}", "resume=auto"]))

    ended = run_all_forked([partial(rank, number) for number in range(2)])
    assert [one.code for one in ended] == [0, 0], "\n".join(one.stderr for one in ended)
    went_on("ranks", out)


def test_a_run_of_a_script_goes_on() -> None:
    from mine import Points  # type: ignore[import-not-found]

    out = copied("script", "again")
    plugins = [AdamW(lr=0.02, exclude="norm_and_bias"), EMA(decay=0.9), "accumulate"]
    with warnings.catch_warnings(record=True) as caught:
        Points(hidden=7, plugins=plugins, epochs=5, batch_size=4, seed=5, device="cpu", out=out, resume="auto").fit()
    silent([str(warning.message) for warning in caught])
    went_on("script", out)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_config_of_a_run_names_its_classes(name: str) -> None:
    needed(name)
    if name == "remote":
        publish(Path("pictures"))
    config = compose(config_path=f"runs/{name}")
    assert not config.skipped
    config.trainer()


@pytest.mark.parametrize("name", ["half", "lars", "folder"])
def test_a_run_goes_on_by_its_config(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    needed(name)
    out = copied(name, "by_config")
    assert main(["--config-path", str(out), *QUICK, f"out={out}", "resume=auto"]) == 0, capsys.readouterr().err
    went_on(name, out)


def test_the_pages_of_old_runs_are_made_of_what_they_have() -> None:
    page = accel.report("runs/lars", out="one.html").read_text()
    assert "times.jsonl is not there" in page
    assert page.count("<svg") == 2, "loss and learning rate"
    assert "could not be shown" not in page
    assert "2 runs compared" in accel.report("runs/lars", "runs/digits", out="two.html").read_text()
