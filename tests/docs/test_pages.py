"""The pages of the documentation: links, navigation, length, and what must stand in them."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from accel.schema import plugin_registry
from tests.docs.pages import PAGES, ROOT, read

CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
BUNDLES = {path.stem for path in (ROOT / "conf/plugins").glob("*.yaml") if "_target_" not in path.read_text()}
GENERATED = {
    "changelog.md", "internals/contributing.md", "internals/modules.md",
    *(f"plugins/{name}.md" for name in {*plugin_registry.names(), *BUNDLES}),
}  # fmt: skip
"""Pages that docs/hooks.py makes."""


def entries(nav: Any) -> list[str]:
    """Return every page of the navigation."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in entries(part)]


def slugs(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as Markdown's table of contents makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_a_link_leads_to_a_file(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", read(page), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        made = target.resolve().relative_to(ROOT).as_posix().removeprefix("docs/") in GENERATED
        assert target.exists() or made, f"{page}: {link}"
        if anchor and not made and "reference/" not in link:
            assert anchor in slugs(target), f"{page}: {link}"


def test_the_navigation_has_every_page() -> None:
    pages = entries(CONFIG["nav"])
    assert len(pages) == len(set(pages))
    written = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}
    assert set(pages) == written | GENERATED


def test_every_plugin_stands_in_the_readme_and_in_its_group() -> None:
    plugins = {*plugin_registry.names(), *BUNDLES}
    section = read("README.md").partition("## The plugins")[2].partition("\n## ")[0]
    readme = {
        group: {name for name in re.findall(r"`(\w+)`", line) if name in plugins}
        for group, line in re.findall(r"^- \*\*(.+?)\*\*(.*)$", section, re.MULTILINE)
    }
    (listed,) = [part["Plugins"] for part in CONFIG["nav"] if "Plugins" in part]
    nav = {group: {Path(page).stem for page in pages} for part in listed if isinstance(part, dict) for group, pages in part.items()}
    assert readme == nav
    assert set().union(*nav.values()) == plugins
    index = read("docs/plugins/index.md")
    headings = {part.partition("\n")[0]: set(re.findall(r"\[`(\w+)`\]\(\1\.md\)", part)) for part in index.split("\n## ")[1:]}
    assert headings == nav


def test_the_map_has_every_folder() -> None:
    table = set(re.findall(r"^\| \[(accel/[\w/.]+)\]", read("docs/internals/map.md").partition("## The way")[0], re.MULTILINE))
    folders = {f"{path.relative_to(ROOT).as_posix()}/" for path in (ROOT / "accel").rglob("*") if (path / "__init__.py").exists()}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "accel").glob("[!_]*.py")}
    assert table == folders | modules


def test_the_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) <= 150


def test_no_page_loads_anything_from_elsewhere() -> None:
    assert CONFIG["theme"]["font"] is False
    for page in PAGES:
        assert not re.search(r"!\[[^\]]*\]\(\w+:|<(script|img|link|iframe)", read(page)), page
    for path in (ROOT / "docs/assets").iterdir():
        assert not re.search(r"url\(\W*https?:|@import|href=\W*https?:", path.read_text(encoding="utf-8")), path


def test_every_generated_page_can_be_made() -> None:
    hooks = runpy.run_path(str(ROOT / "docs/hooks.py"))
    for name in plugin_registry.names():
        page = hooks["plugin_page"](name)
        assert f"# {name}" in page
        assert "## Settings" in page
    for path in hooks["bundle_files"]():
        assert f"'+plugins=[{path.stem}]'" in hooks["bundle_page"](path)
    assert "## accel/parts/" in hooks["modules_page"]()
