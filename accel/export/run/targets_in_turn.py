"""The targets that were asked for, each exported in its turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from accel.errors import ConfigError
from accel.export.all_targets import TARGETS, target_class
from accel.export.quantisation.variant import Variant

if TYPE_CHECKING:  # names are refused before torch is imported
    from accel.export.export_outcome import ExportOutcome
    from accel.export.exporter import Exporter

__all__ = ["export_each", "named_targets", "refuse_missing", "require_targets_heed"]


def named_targets(text: str) -> list[str]:
    """Return the targets that were named: `onnx`, `[onnx,ort]`, or `all`. Raise ConfigError for one that there is not."""
    if text == "all":
        return list(TARGETS)
    names = list(dict.fromkeys(name.strip() for name in text.strip("[]").split(",")))
    for name in names:
        target_class(name)
    return names


def refuse_missing(names: Sequence[str], python: str | None, variant: Variant) -> None:
    """Raise ConfigError if no target that was named is installed and can do what is asked, before anything is computed."""
    missing = [sentence for kind in map(target_class, names) if (sentence := kind.unable(variant) or kind.missing(python))]
    if missing and len(missing) == len(names):
        raise ConfigError(missing[0])


def require_targets_heed(names: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for a setting of builds that none of some targets has.

    Args:
        names: the targets.
        settings: those of the export that were given, by name.
    """
    for setting in OF_TARGETS:
        value = settings.get(setting)
        heeding = [name for name in TARGETS if setting in {one.name for one in fields(target_class(name))}]
        if value is not None and not set(heeding) & set(names):
            by = " or ".join(heeding)
            raise ConfigError(f"{setting}={str(value).lower()} has no effect: only target={by} heeds it; leave it out")


OF_TARGETS = ("opset", "fusion")
"""Settings that a target heeds if it has a field of the name."""


def export_each(exporter: Exporter, names: Sequence[str], announce: Callable[[str], None]) -> list[ExportOutcome]:
    """Return the outcome of each target, in order; of several, one that cannot be built or run has failed.

    Args:
        exporter: of the run.
        names: the targets.
        announce: is told each before its turn.

    Raises:
        ConfigError: if the one target that was named cannot be built or run.
    """
    from accel.export.export_outcome import ExportOutcome

    outcomes = []
    for name in names:
        announce(name)
        try:
            outcomes.append(exporter.export(name))
        except ConfigError as error:
            if len(names) == 1:
                raise
            outcomes.append(ExportOutcome(name, "failed", str(error), variant=exporter.settings.variant))
    return outcomes
