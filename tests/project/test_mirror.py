"""One plugin = one file = one class = one part = one yaml = one test, all of the same name."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from accel.parts import Part
from accel.schema import plugin_registry

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "accel/plugins").glob("[!_]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_yaml_equals_the_constructor(name: str) -> None:
    text = (ROOT / f"conf/plugins/{name}.yaml").read_text()
    assert text.startswith(f"# @package plugins.{name}\n"), "without its package line a plugin lands on the wrong key"
    conf = OmegaConf.to_container(OmegaConf.create(text))
    plugin = plugin_registry.load(name)
    assert isinstance(conf, dict)
    assert conf.pop("_target_") == f"{plugin.__module__}.{plugin.__name__}"
    settings = [field for field in fields(plugin) if field.init]
    assert not [field.name for field in settings if field.default is MISSING], "every setting has a default"
    assert list(conf.items()) == [(field.name, field.default) for field in settings]
    comments = re.findall(r"^(\w+): .*?  # .+$", text, re.MULTILINE)
    assert comments == [field.name for field in settings], "every setting has a comment"


@pytest.mark.parametrize("name", NAMES)
def test_the_comments_of_the_yaml_are_those_of_the_class(name: str) -> None:
    lines = (ROOT / f"conf/plugins/{name}.yaml").read_text().splitlines()
    page = plugin_registry.plugin_signature(name)
    assert lines[1] == f"# {page.doc.splitlines()[0]}"
    comments = {match[1]: match[2] for line in lines if (match := re.match(r"(\w+): .*?  # (.+)$", line))}
    assert comments == {setting.name: setting.about for setting in page.settings.values()}


@pytest.mark.parametrize("name", NAMES)
def test_names_agree(name: str) -> None:
    plugin = plugin_registry.load(name)
    assert issubclass(plugin, Part)
    assert plugin().name == name
    assert plugin.__module__ == f"accel.plugins.{name}"


@pytest.mark.parametrize("name", NAMES)
def test_every_plugin_has_its_test_file_and_its_page(name: str) -> None:
    assert (ROOT / f"tests/plugins/test_{name}.py").exists()
    page = __import__(f"accel.plugins.{name}", fromlist=["x"]).__doc__
    for word in ("Helps ", "Hurts ", "Costs "):
        assert f"\n{word}" in page, f"the page of {name} does not say what {word.strip().lower()}"


def test_no_yaml_without_its_plugin() -> None:
    named = {path.stem for path in (ROOT / "conf/plugins").glob("*.yaml") if "_target_" in path.read_text()}
    assert named == set(NAMES)
