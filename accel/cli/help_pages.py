"""Help, the list of plugins, and a plugin's page: plain text that fits 80 columns."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from accel.cli.compose.bundles import bundles, summary
from accel.cli.compose.bundles import page_text as bundle_text
from accel.errors import ConfigError, nearest
from accel.schema import plugin_registry
from accel.schema.signature import COMPUTED, REQUIRED, Signature
from accel.system import machine
from accel.values import describe_kind

if TYPE_CHECKING:
    from accel.cli.compose.hydra_session import Session

__all__ = ["FLAGS", "HEAD", "help_text", "lacking", "listing", "page_text", "terminal_width"]

HEAD = """\
accel trains PyTorch models faster, one plugin at a time, and exactly.

Usage: python -m accel.train [FLAG] [SETTING=VALUE ...]    (or accel-train)

  python -m accel.train
      trains on the handwritten digits that come with scikit-learn
  python -m accel.train '+plugins=[amp,onecycle]' plugins.onecycle.max_lr=0.1
      with two plugins, in any order, and a setting of one
  python -m accel.train +experiment=quick '~plugins.sgd' epochs=6
      with a recipe from conf/experiment, less one of its plugins
  python -m accel.train --multirun 'plugins=[],[amp],[amp,onecycle]'
      three runs, and a table that compares them
  python -m accel.train task=images task.root=DIR
      other data
  python -m accel.train task._target_=mine.MyTrainer --config-dir conf
      your own Trainer, and config files of your own
  python -m accel.train resume=auto
      goes on with the newest run
"""
FLAGS = """\
Flags
  --multirun, -m     run every combination of the values listed, and compare
  --cfg job          print the composed config and stop
  --config-dir DIR   a directory of yours with plugins/, task/, experiment/
  --shell-completion install=bash   print what to eval for tab completion
  --hydra-help, --info   Hydra's own flags, and how a config was found"""


def help_text(opened: Session) -> str:
    """The page behind --help."""
    lines = [HEAD, "Settings of the run", *_settings(opened), "", "Plugins (python -m accel plugins NAME has the page of one)"]
    lines += listing(80)
    known = {*plugin_registry.targets(), *bundles()}
    others = [name for name in opened.options("plugins") if name not in known]
    if others:
        lines += textwrap.wrap(f"also: {', '.join(others)}", 78, initial_indent="  ", subsequent_indent="    ")
    for group in opened.groups():
        if group != "plugins":
            lines += ["", f"{group.capitalize()}s: {', '.join(opened.options(group))}"]
    lines += ["", FLAGS]
    return "\n".join(lines)


def _settings(opened: Session) -> list[str]:
    """The root keys of config.yaml with their comments."""
    lines, prefix = [], ""
    with open(opened.file(opened.name), encoding="utf-8") as stream:
        text = stream.read()
    for line in text.partition("_self_\n")[2].splitlines():
        found = re.match(r"( *)(\w+): *([^#]*?) *(?:# (.*))?$", line)
        if found is None:
            continue
        indent, name, value, comment = found.groups()
        prefix = prefix if indent else ""
        if not value:
            prefix = f"{name}."
            continue
        setting = f"{prefix}{name}={value}"
        lines += textwrap.wrap(f"{setting:<25}{comment or ''}", 78, initial_indent="  ", subsequent_indent=" " * 27)
    return lines


def listing(width: int | None) -> list[str]:
    """One line for each plugin and bundle: name, part, whether it works here, what it is."""
    pages = {name: plugin_registry.plugin_signature(name) for name in plugin_registry.names()}
    rows = []
    for name, page in pages.items():
        reason = lacking(page)
        rows.append((name, page.part, f"{f'not here: {reason}. ' if reason else ''}{page.summary}"))
    rows += [(name, "(bundle)", summary(path)) for name, path in bundles().items()]
    named, parts = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"  {name:<{named}}  {part:<{parts}}  {about}" for name, part, about in rows]
    return [line if width is None or len(line) <= width else line[: width - 3].rstrip(" ,;:") + "..." for line in lines]


def lacking(page: Signature) -> str | None:
    """Why a plugin cannot work here as it is set by default."""
    settings = {name: setting.default for name, setting in page.settings.items()}
    reasons = (need.unmet_reason(settings, machine.resolve_device("auto")) for need in page.needs)
    return next((reason for reason in reasons if reason is not None), None)


def page_text(name: str) -> str:
    """The page of one plugin, or bundle. Raises ConfigError for a name that none has."""
    known = bundles()
    if name in known:
        return bundle_text(name, known[name])
    if name not in (plugins := plugin_registry.targets()):
        hint = nearest(name, [*plugins, *known])
        raise ConfigError(f"no plugin is called {name!r}{hint}; python -m accel plugins lists them")
    page = plugin_registry.plugin_signature(name)
    reason = lacking(page)
    here = f"not available: {reason}" if reason else "available"
    lines = [f"{name}: provides {page.part} ({page.target})", f"here: {here}", "", page.doc]
    lines += ["", "Settings" if page.settings else "No settings."]
    for setting in page.settings.values():
        default = "" if setting.default is REQUIRED else "=..." if setting.default is COMPUTED else f"={_shown(setting.default)}"
        lines.append(f"  plugins.{name}.{setting.name}{default}")
        about = f"{setting.about.rstrip('.')} ({describe_kind(setting.kind)})" if setting.about else describe_kind(setting.kind)
        lines += textwrap.wrap(about, 78, initial_indent="      ", subsequent_indent="      ")
    return "\n".join([*lines, "", "Use", f"  python -m accel.train '+plugins=[{name}]'"])


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def terminal_width() -> int | None:
    """The columns of the terminal; None where the output goes elsewhere and nothing must be cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
