"""Plain-text pages about plugins: the list of all, and the page of one, read without importing any."""

from __future__ import annotations

import shutil
import sys
import textwrap

from accel.cli.compose.bundles import bundle_page, bundle_summary, bundles
from accel.cli.compose.config import typed_value
from accel.errors import ConfigError, nearest
from accel.schema import plugin_registry
from accel.schema.signature import COMPUTED, REQUIRED, Setting, Signature
from accel.system import machine
from accel.values import describe_kind

__all__ = ["WIDTH", "plugin_list", "plugin_page", "terminal_width", "unmet_need"]

WIDTH = 78
"""Columns of a page's wrapped lines."""


def plugin_list(width: int | None) -> list[str]:
    """Return one line for each plugin and bundle: name, part, reason why it cannot work here, summary.

    Args:
        width: columns, at which lines are cut; None for lines of any length.
    """
    rows = []
    for name in plugin_registry.names():
        page = plugin_registry.plugin_signature(name)
        reason = unmet_need(page)
        rows.append((name, page.part, f"{f'not here: {reason}. ' if reason else ''}{page.summary}"))
    rows += [(name, "(bundle)", bundle_summary(path)) for name, path in bundles().items()]
    name_width, part_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"  {name:<{name_width}}  {part:<{part_width}}  {about}" for name, part, about in rows]
    return [line if width is None or len(line) <= width else line[: width - 3].rstrip(" ,;:") + "..." for line in lines]


def unmet_need(page: Signature) -> str | None:
    """Return why a plugin cannot work on this machine with its default settings; None if it can."""
    settings = {name: setting.default for name, setting in page.settings.items()}
    reasons = (need.unmet_reason(settings, machine.resolve_device("auto")) for need in page.needs)
    return next((reason for reason in reasons if reason is not None), None)


def plugin_page(name: str) -> str:
    """Return the page of one plugin or bundle. Raise ConfigError if none has that name."""
    bundle_files = bundles()
    if name in bundle_files:
        return bundle_page(name, bundle_files[name])
    if name not in (plugins := plugin_registry.targets()):
        hint = nearest(name, [*plugins, *bundle_files]) or "; python -m accel plugins lists them"
        raise ConfigError(f"no plugin is called {name!r}{hint}")
    page = plugin_registry.plugin_signature(name)
    reason = unmet_need(page)
    lines = [
        f"{name}: provides {page.part} ({page.target})",
        f"here: {f'not available: {reason}' if reason else 'available'}",
        "",
        page.doc,
        "",
        "Settings" if page.settings else "No settings.",
    ]
    for setting in page.settings.values():
        lines += _setting_lines(name, setting)
    return "\n".join([*lines, "", "Use", f"  python -m accel.train '+plugins=[{name}]'"])


def _setting_lines(plugin: str, setting: Setting) -> list[str]:
    """Return the lines about one setting: key and default, then description and kind."""
    default = "" if setting.default is REQUIRED else "=..." if setting.default is COMPUTED else f"={typed_value(setting.default)}"
    kind = describe_kind(setting.kind)
    about = f"{setting.about.rstrip('.')} ({kind})" if setting.about else kind
    indent = " " * 6
    return [
        f"  plugins.{plugin}.{setting.name}{default}",
        *textwrap.wrap(about, WIDTH, initial_indent=indent, subsequent_indent=indent),
    ]


def terminal_width() -> int | None:
    """Return the columns of the terminal; None if the output goes elsewhere, where nothing must be cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
