"""What the commands and the code of the documentation find where they run."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from accel import __main__ as accel_main
from tests.docs.pages import PACKS
from tests.support.lmdb_layouts import listed
from tests.support.shard_writer import files as class_folders

MINE = """
import torch
from accel import Trainer
class MyTrainer(Trainer):
    def model(self): return torch.nn.Linear(2, 1)
    def data(self, split): return [torch.ones(3, 2)]
    def loss(self, model, batch): return model(batch).square().mean()
"""


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands name: pictures in DIR, packed as the pages say, an LMDB file of another tool in OTHER, bytes
    in FILE, tokens, and mine.py.
    """
    image = pytest.importorskip("PIL.Image", reason="the pictures need the extra images")
    pytest.importorskip("lmdb", reason="packing needs the extra lmdb")
    folder, rng = tmp_path_factory.mktemp("material"), np.random.default_rng(0)
    for split, kind in [(split, kind) for split in ("train", "test") for kind in ("cat", "dog")]:
        place = folder / "DIR" / split / kind
        place.mkdir(parents=True)
        image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(place / "0.png")
    (folder / "OTHER").mkdir()
    for split in ("train", "test"):
        listed(class_folders(folder / "DIR" / split), folder / "OTHER" / split)
        (folder / "OTHER" / f"{split}-list.txt").rename(folder / "OTHER" / f"{split}.txt")
    (folder / "FILE").write_bytes(rng.integers(0, 255, 20_000, dtype=np.uint8).tobytes())
    np.save(folder / "TOKENS.npy", rng.integers(0, 300, 2000, dtype=np.uint16))
    (folder / "mine.py").write_text(MINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in PACKS:
            assert accel_main.main(shlex.split(line, comments=True)[3:]) == 0, line
    return folder


@pytest.fixture
def here(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of the test's own, with links to the material."""
    for path in material.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path
