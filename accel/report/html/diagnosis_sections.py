"""The sections of a run's page that other commands measure: `doctor.json` and `ablate.json` in its directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from accel.report.formatting import elapsed, loss_change, size_change
from accel.report.html.intervals import Interval, interval_of, ratio_text, scaled
from accel.report.html.markup import Markup, element, join, paragraphs, table
from accel.report.html.run_sections import bars
from accel.report.record.ablation_notes import ablation_notes, outcome
from accel.report.record.diagnosis_notes import no_remedy, unknowns
from accel.report.record.run_files import RunFiles

__all__ = ["ablation", "diagnosis"]


def diagnosis(run: RunFiles) -> Markup:
    """Return what `accel doctor` measured: the verdict, where an update's time goes, remedies, and states of the machine."""
    content = run.documents.get("doctor")
    if content is None:
        return Markup("")
    split = {name: value for name, value in content["split"].items() if name != "straggler_rank" and value}
    remedies, left_out = content.get("remedies") or [], content.get("left_out") or []
    ranges = [interval_of(remedy.get("speed_up"), "middle") for remedy in remedies]
    rows = [
        (remedy["name"].replace("_", " "), ratio_text(one), drawing, _ceiling(remedy.get("ceiling")), remedy.get("changes"),
         size_change(remedy.get("memory")), element("code", remedy["type"]))
        for remedy, one, drawing in zip(remedies, ranges, scaled(ranges), strict=True)
    ]  # fmt: skip
    columns = ("remedy", "predicted", "", "at most", "changes", "memory", "to type")
    return join([
        element("p", content["verdict"]["sentence"], class_="lead"),
        bars({name: 100 * value / sum(split.values()) for name, value in split.items()}) if split else None,
        table(columns, rows, class_="wide") if rows else element("p", no_remedy(left_out)),
        _tried(content.get("applied") or []), paragraphs(_beside_the_trials(content)),
        *(element("p", state["problem"], class_="warn") + element("pre", state["mend"]) for state in content.get("states") or []),
        paragraphs(unknowns(left_out, content.get("unmeasured") or []), "dim"),
        element("p", f"measured in {elapsed(content['seconds'])}, and undone", class_="dim"),
    ])  # fmt: skip


def _tried(outcomes: list[dict[str, Any]]) -> Markup | None:
    """Return what came of trying remedies; None where none were."""
    speeds = [_measured(one.get("measured")) for one in outcomes]
    rows = [
        (element("code", " ".join(one["overrides"])), element("b", "kept", class_="good") if one.get("is_kept") else "left out",
         ratio_text(speed), drawing, one.get("reason") or _loss(one.get("loss")))
        for one, speed, drawing in zip(outcomes, speeds, scaled(speeds), strict=True)
    ]  # fmt: skip
    return table(("tried", "", "measured", "", "loss"), rows, class_="wide") if rows else None


def _beside_the_trials(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what all that was kept brings together, and what was not tried, with the reason."""
    if (together := _measured(content.get("together"))) is not None:
        yield f"together: {ratio_text(together)}"
    yield from (f"not tried: {one['typed']}: {one['reason']}" for one in content.get("untried") or [])


def _measured(values: dict[str, Any] | None) -> Interval | None:
    return None if values is None or None in values.values() else interval_of(values, "ratio")


def ablation(run: RunFiles) -> Markup:
    """Return what `accel ablate` measured: a row for each plugin, and what to keep."""
    content = run.documents.get("ablate")
    if content is None:
        return Markup("")
    some = content["contributions"]
    speeds = [interval_of(one.get("speed"), "ratio") for one in some]
    rows = [
        ("+".join(one["plugins"]), _verdict(one.get("verdict")), ratio_text(speed), drawing,
         ratio_text(interval_of(one.get("alone"), "ratio")), size_change(one.get("memory")), _loss(one.get("loss")))
        for one, speed, drawing in zip(some, speeds, scaled(speeds), strict=True)
    ]  # fmt: skip
    columns = ("plugin", "verdict", "speed beside the others", "", "speed alone", "memory", "loss")
    return join([
        element("p", outcome(content), class_="lead"), element("pre", content["command"]) if content.get("command") else None,
        table(columns, rows), *(element("p", line, class_=style or None) for line, style in ablation_notes(content)),
    ])  # fmt: skip


def _verdict(verdict: str | None) -> Markup:
    return element("b", verdict or "unknown", class_={"keep": "good", "harmful": "bad"}.get(verdict or "", "warn"))


def _ceiling(ceiling: float | None) -> str:
    return "-" if ceiling is None or ceiling >= 100 else f"{ceiling:.2f}x"


def _loss(loss: dict[str, Any] | None) -> str:
    if loss is None:
        return "-"
    if None in (loss["difference"], loss["base"], loss["noise"]):
        return "not finite"
    return loss_change(loss["difference"], loss["base"], loss["noise"], bool(loss.get("is_beyond_noise")))
