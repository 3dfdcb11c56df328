"""A package that adds plugins through the `accel.plugins` entry point: composed, listed, read and suggested like any other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import accel
from accel.cli.plugin_pages import plugin_page
from accel.cli.train_command import main
from accel.errors import ConfigError
from accel.schema import plugin_registry

HALVE = '''"""Halve: clips the gradient to half its length.

Helps   nobody.
"""
from dataclasses import dataclass

from accel.parts import Clip, Grads
from accel.values import Positive

@dataclass(eq=False)
class Halve(Clip):
    """Halve.

    Args:
        by: what the gradient is divided by.
    """
    by: Positive = 2.0

    def limit(self, grads: Grads) -> Grads:
        for grad in grads.materialise():
            grad.div_(self.by)
        return grads
'''


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed distribution, as pip leaves it: a package, and its metadata with the entry point."""
    home = tmp_path / "site"
    for name, text in {
        "halving/__init__.py": "raise SystemExit('imported')\n",
        "halving/halve.py": HALVE,
        "halving/conf/plugins/halve.yaml": "# @package plugins.halve\n_target_: halving.halve.Halve\nby: 2.0\n",
        "halving-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: halving\nVersion: 1.0\n",
        "halving-1.0.dist-info/entry_points.txt": "[accel.plugins]\nhalving = halving\n",
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.chdir(tmp_path)
    plugin_registry.third_party_folders.cache_clear()
    yield
    plugin_registry.third_party_folders.cache_clear()
    for name in [name for name in sys.modules if name.startswith("halving")]:
        del sys.modules[name]


def test_it_is_found_and_read_without_being_imported() -> None:
    assert "halve" in plugin_registry.names()
    assert plugin_registry.plugin_signature("halve").part == "Clip"
    assert "plugins.halve.by=2.0" in plugin_page("halve")
    assert accel.compose(["+plugins=[halve]", "plugins.halve.by=3"]).plugins["halve"].settings == {"by": 3.0}
    assert "halving" not in sys.modules


def test_it_is_suggested_and_checked() -> None:
    with pytest.raises(ConfigError, match="did you mean 'halve'"):
        accel.compose(["+plugins=[halv]"])
    with pytest.raises(ConfigError, match=r"plugins\.halve\.by must be a number above 0"):
        accel.compose(["+plugins=[halve]", "plugins.halve.by=-1"])
    with pytest.raises(ConfigError, match="clip and halve both provide Clip"):
        accel.compose(["+plugins=[halve,clip]"])


def test_it_trains(tmp_path: Path) -> None:
    (tmp_path / "site/halving/__init__.py").write_text("")
    assert main(["+plugins=[halve]", "dry_run=true", "~plugins.progress"]) == 0
    assert plugin_registry.load("halve")().by == 2.0
