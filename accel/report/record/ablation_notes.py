"""What is to be said of an ablation beside its table: what the numbers are, what is kept and why. Made of its document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from accel.compare import LEVEL, MIN_SEEDS
from accel.report.formatting import elapsed, ratio
from accel.report.other_load import BUSY

__all__ = ["ablation_notes", "outcome"]


def ablation_notes(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the lines below the table, each with its style: `warn`, `dim` or none.

    Args:
        document: of `accel.diagnose.ablation.Ablation.to_dict`.
    """
    some = document["contributions"]
    for one in some:
        if one["refusal"]:
            yield f"{_name(one)}: {one['refusal']}", "warn"
        if reason := _kept_for(one, document):
            yield f"{_name(one)}: {reason}", ""
    if changing := document.get("changing"):  # unknown to earlier documents
        yield f"{', '.join(changing)}: what changes the model after the first update is in no number here", "warn"
    if document["together"] is not None and len(some) > 1:
        yield f"all together: {_speed(document['together'])}", ""
    yield (
        f"speed: the run with the plugin over the run without it, and the bounds that hold it with {LEVEL:.0%}; beside the others, "
        "by which the verdict goes, and alone",
        "dim",
    )
    yield from _notes_on_losses(document)
    if any(one["memory"] for one in some):
        yield "memory: of tensors in an update, with the plugin less without it", "dim"
    facts = ", ".join(f"{name} {value}" for name, value in document["machine"].items())
    yield f"measured in {elapsed(document['seconds'])}, and undone; {facts}", "dim"
    if (document["busy"] or 0.0) >= BUSY:
        taken = f"other processes took {document['busy']:.0f} % of the cores"
        yield f"the machine was busy: {taken}, which widens the bounds; measure again when it is quiet", "warn"


def _notes_on_losses(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    updates, seeds = document["updates"], document["seeds"]
    if updates:
        by_loss = [_name(one) for one in document["contributions"] if one["judged_by"] == "loss"]
        equal = f"; for {', '.join(by_loss)} after equal time, by which the verdict goes" if by_loss else ""
        yield (
            f"loss: with the plugin less without it, after {updates} updates from the same state{equal}; mean of {seeds} seeds, "
            "and how far these lie apart without it; below 0 it is lower with the plugin",
            "dim",
        )
    if 0 < seeds < MIN_SEEDS:
        yield f"fewer than {MIN_SEEDS} seeds tell no difference of losses", "warn"


def outcome(document: Mapping[str, Any]) -> str:
    """Return which plugins to keep, which go, and what that changes, in words."""
    kept = f"keep {', '.join(document['kept']) or 'none'}"
    if not document["left_out"]:
        return kept
    speed = "" if document["kept_speed"] is None else f", {_speed(document['kept_speed'])} of the speed with all"
    return f"{kept}; leave out {', '.join(document['left_out'])}{speed}"


def _kept_for(one: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Return why a plugin without a verdict for it is kept, in words; empty if it is not, or its verdict says so."""
    if one["verdict"] == "neutral" and one["saves_memory"]:
        return "slower or no faster, and saves memory: keep it if the run needs that"
    if one["judged_by"] == "speed" or not set(one["plugins"]) <= set(document["kept"]):
        return ""
    if one["verdict"] == "neutral":
        return f"kept, for {document['updates']} updates tell nothing of what it does to the loss"
    return (
        "kept, for it changes what is learnt, and no losses were compared" if one["verdict"] is None and not one["refusal"] else ""
    )


def _name(one: Mapping[str, Any]) -> str:
    return "+".join(one["plugins"])


def _speed(speed: Mapping[str, Any]) -> str:
    return ratio(speed["ratio"], speed["low"], speed["high"])
