"""The sections of a run's page that come from its summary, its plan and its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accel.report.formatting import cell, elapsed, metric, number, rounded_percentages, setting, short_count, throughput
from accel.report.html.charts import charts
from accel.report.html.markup import Markup, definitions, element, join, paragraphs, table
from accel.report.html.run_charts import course, learning
from accel.report.record.run_files import RunFiles
from accel.report.run_verdict import Verdict
from accel.report.summary import group_by_folder
from accel.system.shell_quoting import command_line

__all__ = ["LEAST_WAIT", "bars", "curves", "files", "machine", "plan", "progress", "rows_table", "tiles", "time", "watches"]

LEAST_WAIT = 1.0
"""Seconds of waiting for data that are worth a verdict."""


def tiles(run: RunFiles) -> Markup:
    """Return the numbers that people look for first, each in a box."""
    summary, boxes = run.summary, []
    split, scores = summary.get("split", ""), summary.get("metrics") or {}
    names = sorted(scores, key=lambda name: name == "loss")[:4]
    boxes += [(metric(split, name), _number(scores[name]), "last evaluation") for name in names]
    if (best := summary.get("best")) is not None:
        boxes.append((f"best {metric(split, best['metric'])}", _number(best["value"]), f"epoch {best['epoch']}"))
    if "loss" in summary:
        boxes.append(("training loss", _number(summary["loss"]), "of the last update"))
    if "updates" in summary:
        skipped = f"{summary['skipped']:,} skipped" if summary.get("skipped") else f"{summary.get('samples', 0):,} samples"
        boxes.append(("updates", f"{summary['updates']:,}", skipped))
        boxes.append(("time", elapsed(summary["seconds"]), f"{summary.get('epochs', 0):,} epochs"))
    pace = summary.get("pace")
    if pace is not None:
        boxes.append(("samples/s", short_count(pace["rate"]), f"{short_count(pace['low'])} to {short_count(pace['high'])}"))
    if (flow := summary.get("flow")) is not None:
        boxes.append(("waiting for data", f"{flow['wait']:.1f} %", "of the training"))
    texts = (element("span", name) + element("b", value) + element("small", note) for name, value, note in boxes)
    return element("div", *(element("div", text, class_="tile") for text in texts), class_="tiles") if boxes else Markup("")


def progress(run: RunFiles) -> Markup:
    """Return how far a run without a summary is."""
    if run.summary or run.curves is None or not len(run.curves.update):
        return Markup("")
    curves = run.curves
    last = f"the last update on the disk is {curves.update[-1]:,.0f}, with a loss of {number(float(curves.loss[-1]))}"
    seconds = "" if run.times is None else f", after {elapsed(float(run.times.seconds[-1]))}"
    return element("p", f"{last}{seconds}")


def curves(run: RunFiles) -> Markup:
    """Return the charts of what was learnt, and of how fast."""
    if run.curves is None or not len(run.curves.update):
        return Markup("")
    return charts([*learning(run.curves), *([] if run.times is None else course(run.times))])


def time(run: RunFiles) -> Markup:
    """Return where the time went, as bars, what is to be said of the data, the verdict, and the command that measures more."""
    summary = run.summary or _summary_of_times(run)
    shares, flow = summary.get("shares") or {}, summary.get("flow")
    parts = [bars(shares)] if shares else []
    if flow is not None:
        came = throughput(flow["rate"], flow.get("ceiling"))
        parts.append(element("p", f"{flow['wait']:.1f} % of the training waited for data; {came}"))
        if flow.get("tries"):
            parts += [element("p", "to wait less for data, try"), *(element("pre", text) for text in flow["tries"])]
    if summary.get("verdict"):
        parts.append(element("p", summary["verdict"], class_="lead"))
    if summary.get("doctor"):
        parts += [element("p", "to know more:"), element("pre", summary["doctor"])]
    return join(parts)


def _summary_of_times(run: RunFiles) -> dict[str, Any]:
    """Return what times.jsonl tells of a run without a summary, in the form of one: the flow of data, and a verdict on it."""
    if run.times is None or not (training := float(run.times.training[-1])):
        return {}
    waited, seconds = float(run.times.waited[-1]), float(run.times.seconds[-1])
    samples = float(run.times.samples[-1] - run.times.samples[0])
    is_largest = waited >= max(LEAST_WAIT, seconds / 2)
    doctor = ["python", "-m", "accel", "doctor", "--config-path", str(run.path)]
    return {
        "flow": {"wait": 100 * waited / training, "rate": samples / training},
        "verdict": Verdict("data", waited / seconds).sentence if is_largest else "",
        "doctor": command_line(doctor) if run.config else "",
    }


def bars(shares: Mapping[str, float]) -> Markup:
    """Return a bar for each share of a whole; the percentages shown add up to 100.0."""
    rows = [
        element("span", name) + element("span", f"{share:.1f} %", class_="number")
        + element("div", element("i", style=f"width:{max(share, 0.15):.2f}%"))
        for name, share in rounded_percentages(shares).items()
    ]  # fmt: skip
    return element("div", *rows, class_="bars")


def watches(run: RunFiles) -> Markup:
    """Return the tables that watches have added."""
    parts = []
    for section in (run.summary.get("sections") or {}).values():
        parts += [element("h3", section["title"]), rows_table(section["rows"])]
    return join(parts)


def rows_table(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Return rows of plain values under the names of their columns, in the units that these end with; nothing for none."""
    if not rows:
        return Markup("")
    names = list(dict.fromkeys(name for row in rows for name in row))
    headings = [name.removesuffix(" bytes").removesuffix(" percent") for name in names]
    right = [place for place, name in enumerate(names) if isinstance(rows[0].get(name), int | float)]
    return table(headings, ([_cell(name, row.get(name)) for name in names] for row in rows), right)


def plan(run: RunFiles) -> Markup:
    """Return the plugins with their settings, the facts of the plan, its warnings, and the settings of the run."""
    content = run.plan
    if not content:
        return Markup("")
    rows = [(row["plugin"], row["part"], _typed(row["settings"], ", "), row["status"]) for row in content["rows"]]
    parts = [table(("plugin", "part", "settings", "status"), rows) if rows else element("p", "no plugins: the plain loop")]
    parts += [definitions(content["facts"].items()), paragraphs(content.get("warnings") or [], "warn")]
    changed = {name: value for name, value in (content.get("settings") or {}).items() if value is not None}
    if changed:
        parts += [element("h3", "settings of the run"), element("pre", _typed(changed, " "))]
    if run.config:
        parts.append(element("details", element("summary", "config.yaml, in full"), element("pre", run.config)))
    return join(parts)


def machine(run: RunFiles) -> Markup:
    """Return the machine as the plan has it; nothing for a run of an accel that kept none."""
    return definitions((run.plan.get("machine") or {}).items())


def files(run: RunFiles) -> Markup:
    """Return the files of the run, and the command that goes on."""
    parts = [element("p", ", ".join(group_by_folder([name for name in run.files if not name.startswith(".")])))]
    if run.summary.get("resume"):
        parts += [element("p", "go on with"), element("pre", run.summary["resume"])]
    return join(parts)


def _typed(settings: Mapping[str, Any], between: str) -> str:
    """Return settings as they are typed."""
    return between.join(f"{name}={setting(value)}" for name, value in settings.items())


def _number(value: float | None) -> str:
    return "not finite" if value is None else number(value)


def _cell(name: str, value: Any) -> str:
    return "-" if value is None else cell(name, value) if isinstance(value, str | int | float) else str(value)
