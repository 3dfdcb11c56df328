"""Bundles: config files in `plugins/` that only list plugins, each with a reason beside it."""

from __future__ import annotations

from pathlib import Path

from accel.schema import plugin_registry

__all__ = ["CONF", "PACKAGE", "bundle_page", "bundle_summary", "bundles"]

PACKAGE = Path(__file__).resolve().parents[2]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""The config files that come with accel: inside the package in a wheel, beside it in a checkout."""


def bundles() -> dict[str, Path]:
    """Return the file of each bundle that comes with accel or a package of plugins, by its name, sorted."""
    files = {}
    for conf in (*plugin_registry.third_party_folders().values(), CONF):
        for path in conf.glob("plugins/*.yaml"):
            text = path.read_text(encoding="utf-8")
            if "\ndefaults:" in text and "_target_" not in text:
                files[path.stem] = path
    return dict(sorted(files.items()))


def bundle_summary(path: Path) -> str:
    """Return the purpose of a bundle: the comment below its package line, without its name."""
    for line in path.read_text(encoding="utf-8").splitlines()[1:2]:
        return line.removeprefix("# ").partition(": ")[2]
    return ""


def bundle_page(name: str, path: Path) -> str:
    """Return the page of a bundle: its file, whose comments say all about it, and how to use it."""
    body = path.read_text(encoding="utf-8").partition("\n")[2].removeprefix(f"# {name}: ")
    return "\n".join(
        [f"{name}: a bundle of plugins ({path.name})", "", body.rstrip(), "", "Use", f"  python -m accel.train '+plugins=[{name}]'"]
    )
