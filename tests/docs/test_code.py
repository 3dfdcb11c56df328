"""Every piece of code in the documentation runs as it stands there."""

from __future__ import annotations

import json
import re
import tomllib
import warnings
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.utils.data import TensorDataset

from accel.testing import run_checks
from accel.testing.plugin_runs import companions
from tests.docs.pages import BLOCKS, PAGES, ROOT, Block, blocks_of, where
from tests.support.companions import COMPANIONS

pytestmark = pytest.mark.slow

INCLUDE = re.compile(r'^--8<-- "([^"]+)"$', re.MULTILINE)


def is_run(block: Block) -> bool:
    """Return whether a block is Python of its own, and not marked as one that takes too long."""
    return block.language == "python" and not INCLUDE.match(block.text) and not block.note.startswith("not run: ")


PYTHON = [page for page in PAGES if any(map(is_run, blocks_of(page)))]
"""Pages with code of their own; the examples that others include have tests of their own."""
NOT_RUN = Counter(
    {
        "docs/guides/ablate.md": 2,
        "docs/guides/advise.md": 1,
        "docs/guides/distill.md": 1,
        "docs/guides/doctor.md": 3,
        "docs/guides/export.md": 2,
        "docs/guides/report.md": 1,
        "docs/guides/several-machines.md": 1,
        "docs/guides/shape.md": 1,
        "docs/guides/stopping.md": 1,
        "docs/guides/stores.md": 1,
        "docs/internals/gpu.md": 1,
        "docs/guides/trackers.md": 1,
        "docs/guides/command-line.md": 3,
    }
)
"""Blocks that are marked `not run: REASON`, by page. This is all of them: another one must be added here, with its reason there."""
PEERS = Counter({"lightning": 1, "accelerate": 1, "transformers": 1})
"""Blocks that run where a package is installed, and are compiled elsewhere."""


def names() -> dict[str, Any]:
    """Return what the code of a page finds: a net, data and a loss."""
    torch.manual_seed(0)
    x = torch.randn(40, 4)
    data = TensorDataset(x, (x.sum(1) > 0).long())
    return {
        "__name__": "__main__", "nn": nn, "torch": torch, "net": nn.Sequential(nn.Linear(4, 2)),
        "train_set": data, "test_set": data,
        "loss_fn": lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
    }  # fmt: skip


@pytest.mark.parametrize("page", PYTHON)
def test_the_python_of_a_page(page: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # examples/06_own_plugin.py, which has a test of its own, runs the common suite beside every plugin
    monkeypatch.setattr(run_checks, "companions", lambda plugin, names: companions(plugin, names or COMPANIONS))
    namespace = names()
    for block in blocks_of(page):
        if not is_run(block):
            continue
        code = compile("\n" * block.line + block.text, ROOT / page, "exec", dont_inherit=True)
        package = block.note.removeprefix("needs: ") if block.note.startswith("needs: ") else ""
        if package and find_spec(package) is None:
            continue
        with warnings.catch_warnings():
            if package:
                warnings.simplefilter("ignore")  # a peer's warnings are its own
            exec(code, namespace)
        if "result" in namespace:
            assert namespace["result"].updates > 0
    assert namespace.keys() > names().keys(), "something was run"


def test_what_does_not_run_is_counted() -> None:
    notes = [block for block in BLOCKS if block.note]
    assert all(block.note.startswith(("not run: ", "needs: ", "figures: ")) for block in notes)
    assert Counter(block.page for block in notes if block.note.startswith("not run: ")) == NOT_RUN
    assert Counter(block.note.removeprefix("needs: ") for block in notes if block.note.startswith("needs: ")) == PEERS
    assert all(len(block.note) > 20 for block in notes if block.note.startswith("not run: ")), "with a reason"


@pytest.mark.parametrize("block", [block for block in BLOCKS if INCLUDE.search(block.text)], ids=where)
def test_an_included_file_is_there(block: Block) -> None:
    assert all((ROOT / name).is_file() for name in INCLUDE.findall(block.text))


def test_every_example_stands_in_the_tutorial() -> None:
    included = {name for block in blocks_of("docs/tutorial.md") for name in INCLUDE.findall(block.text)}
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "examples").glob("*.py")} <= included


@pytest.mark.parametrize("block", BLOCKS, ids=where)
def test_a_block_has_a_language_that_is_checked(block: Block) -> None:
    readers = {"yaml": yaml.safe_load, "toml": tomllib.loads, "json": json.loads}
    if block.language in readers and not INCLUDE.search(block.text):
        assert readers[block.language](block.text)
    assert block.language in {"", "python", "bash", *readers}
