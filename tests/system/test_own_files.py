"""Nothing is ever written through a link that someone planted where a file is to be made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from accel import Trainer
from accel.data.cache.record_cache import RecordCache
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.packing import Packing
from accel.errors import ConfigError
from accel.system import atomic_files
from accel.system.append_log import AppendLog
from accel.system.own_files import create_own
from tests.support.drawn_images import write_noise
from tests.support.shard_writer import files


def replace(path: Path) -> None:
    atomic_files.write(path, b"new")


def swap(path: Path) -> None:
    with atomic_files.swapped_in(path) as temporary:
        temporary.write_bytes(b"new")


def append(path: Path) -> None:
    AppendLog(path, 0).close()


def keep(path: Path) -> None:
    RecordCache(1, 1 << 20, path, "key")


WRITERS: list[tuple[Callable[[Path], None], str, bool]] = [
    (replace, "x", True), (replace, ".x.tmp", True), (swap, "x", True), (append, "x", False), (keep, "x", False),
]  # fmt: skip
"""Each with a name at which a link is planted, and whether the file is written then."""


@pytest.mark.parametrize(("write", "name", "written"), WRITERS)
@pytest.mark.parametrize("dangling", [False, True])
def test_a_planted_link_is_not_followed(
    tmp_path: Path, write: Callable[[Path], None], name: str, written: bool, dangling: bool
) -> None:  # fmt: skip
    victim = tmp_path / "victim"
    if not dangling:
        victim.write_bytes(b"precious")
    (tmp_path / name).symlink_to(victim)
    if written:
        write(tmp_path / "x")
        assert (tmp_path / "x").read_bytes() == b"new"
        assert not (tmp_path / "x").is_symlink()
    else:
        with pytest.raises(OSError, match="it is a link, and nothing is written through one: take it away"):
            write(tmp_path / "x")
    assert victim.exists() is not dangling
    assert dangling or victim.read_bytes() == b"precious"


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is a pipe"):
        create_own(tmp_path / "pipe", os.O_RDWR)
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "metrics.jsonl")
    with pytest.raises(ConfigError, match=r"metrics\.jsonl: it is a pipe"):
        fit(tmp_path / "run")


def test_names_of_temporary_files_cannot_be_guessed(tmp_path: Path) -> None:
    names = []
    for _ in range(2):
        with atomic_files.swapped_in(tmp_path / "x") as temporary:
            names.append(temporary.name)
            temporary.write_bytes(b"")
    assert names[0] != names[1]


def fit(out: Path) -> Any:
    data = [(torch.ones(4, 2), torch.zeros(4, 1))] * 2
    return Trainer(
        model=torch.nn.Linear(2, 1), data=data, loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
        watch=("metrics",), out=out, device="cpu",
    ).fit()  # fmt: skip


PLANTED = [
    *("plan.json", ".plan.json.tmp", "config.yaml", "summary.json", ".summary.json.tmp", "curves.svg", ".curves.svg.tmp"),
    *("model.safetensors", ".model.safetensors.tmp", "checkpoints/.update-00000002-epoch-0001.pt.tmp"),
    *("checkpoints/.update-00000002-epoch-0001.json.tmp", ".lock", "metrics.jsonl"),
]


@pytest.mark.parametrize("name", PLANTED)
def test_a_run_leaves_what_links_in_its_directory_lead_to(tmp_path: Path, name: str) -> None:
    victim, out = tmp_path / "victim", tmp_path / "run"
    victim.write_bytes(b"precious")
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(victim)
    if name in (".lock", "metrics.jsonl"):
        with pytest.raises(ConfigError, match=r"link"):
            fit(out)
    else:
        fit(out)
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("format", ["lmdb", "raw"])
@pytest.mark.parametrize("suffix", [".part", ".plan", ""])
def test_packing_leaves_what_links_lead_to(tmp_path: Path, format: str, suffix: str) -> None:
    pytest.importorskip("lmdb", reason="needs the extra lmdb")
    write_noise(tmp_path / "DIR", {"train": 2}, 20, 30)
    victim, path = tmp_path / "victim", tmp_path / f"x.{format}"
    victim.write_bytes(b"precious")
    path.with_name(path.name + suffix).symlink_to(victim)
    job = Packing(files(tmp_path / "DIR" / "train"), path, Recipe("raw" if format == "raw" else "original"))
    if (suffix, format) == (".part", "lmdb"):
        assert job.run().count == len(job.source)
    else:
        with pytest.raises(ConfigError, match="it is a link" if suffix else "is no LMDB file|is no raw store|is there already"):
            job.run()
    assert victim.read_bytes() == b"precious"
