"""The page that compares several runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from accel.report.comparison import JobResult, compare
from accel.report.formatting import rounded_percentages, setting
from accel.report.html.charts import charts, swatch
from accel.report.html.markup import Content, element, join, paragraphs, table
from accel.report.html.page import Page
from accel.report.html.run_charts import shared_charts
from accel.report.record.run_files import RunFiles
from accel.report.record.standings import Contender, standings

__all__ = ["comparison_page", "differences", "names_of", "settings_of"]

UNKNOWN = "-"


def comparison_page(runs: Sequence[RunFiles]) -> str:
    """Return the page of several runs: who is ahead, their curves, and how they differ."""
    names = names_of(runs)
    named = list(zip(names, runs, strict=True))
    changed = differences(runs)
    page = Page(f"{len(runs)} runs compared", [os.path.commonpath([run.path.resolve().parent for run in runs])])
    page.add(partial(_verdicts, named, changed), "Who is ahead")
    page.add(lambda: charts(shared_charts(named, "update")), "Over updates")
    page.add(lambda: charts(shared_charts(named, "seconds")), "Over seconds")
    page.add(partial(_settings, names, changed), "What they differ in")
    page.add(partial(_shares, named), "Where the time went, percent")
    page.add(partial(_missing, named), "What is not there")
    return page.html()


def names_of(runs: Sequence[RunFiles]) -> list[str]:
    """Return the shortest ends of the runs' paths that tell them apart."""
    paths = [run.path.resolve().parts for run in runs]
    shared = 0
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared += 1
    names = ["/".join(parts[shared:]) or parts[-1] for parts in paths]
    return [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)]


def settings_of(run: RunFiles) -> dict[str, str]:
    """Return everything that was set in a run, in words, by name: of the run, its task and its plugins; and its facts."""
    plan, task = run.plan, run.documents.get("task", {})
    values = {name: setting(value) for name, value in (plan.get("settings") or {}).items()}
    values |= {f"task.{name}": setting(value) for name, value in (task.get("arguments") or {}).items()}
    values |= {"task": str(task["task"])} if "task" in task else {}
    for row in plan.get("rows") or []:
        values[f"plugins.{row['plugin']}"] = row["status"]
        values |= {f"plugins.{row['plugin']}.{name}": setting(value) for name, value in row["settings"].items()}
    values |= {name: str(value) for name, value in (plan.get("facts") or {}).items()}
    return values | {f"machine: {name}": str(value) for name, value in (plan.get("machine") or {}).items()}


def differences(runs: Sequence[RunFiles]) -> dict[str, list[str]]:
    """Return what differs between runs: by name, the value that each has."""
    settings = [_settings_or_none(run) for run in runs]
    names = dict.fromkeys(name for one in settings for name in one)
    rows = {name: [one.get(name, UNKNOWN) for one in settings] for name in names}
    plugins = [name for name in rows if name.startswith("plugins.") and name.count(".") == 1]
    absent = tuple(f"{name}." for name in plugins if UNKNOWN in rows[name])  # their own rows tell all
    return {name: row for name, row in rows.items() if len(set(row)) > 1 and not name.startswith(absent)}


def _settings_or_none(run: RunFiles) -> dict[str, str]:
    try:
        return settings_of(run)
    except (AttributeError, KeyError, TypeError, ValueError):
        run.remarks.append("plan.json or task.json is damaged, so its settings are not known")
        return {}


def _verdicts(named: Sequence[tuple[str, RunFiles]], changed: Mapping[str, list[str]]) -> Content:
    """Return the sentences, and the table with a row for each run, or for runs that differ in their seed alone."""
    jobs = []
    for place, (name, run) in enumerate(named):
        seeded = {key: row[place] for key, row in changed.items() if key != "seed"}
        same = [row for row in range(len(named)) if all(changed[key][row] == value for key, value in seeded.items())]
        by_seed = "seed" in changed and len({changed["seed"][row] for row in same}) == len(same)
        label = named[same[0]][0] if by_seed else name
        jobs.append(JobResult.of(label, run.summary, "no summary.json"))
    compared = compare(jobs)
    contenders = [Contender(row.group.label, [named[place][1] for place in row.group.numbers], row.group) for row in compared.rows]
    sentences = standings(contenders) if len(contenders) > 1 else ["they differ in their seed alone"]
    rows = []
    for row in compared.rows:
        colours = join(swatch(place) for place in row.group.numbers)
        seeds = f" and {len(row.group.jobs) - 1} more of other seeds" if len(row.group.jobs) > 1 else ""
        training = "not done" if row.training == "failed" else row.training
        numbers = ",".join(map(str, row.group.numbers))
        rows.append((numbers, join([colours, row.group.label + seeds]), *row.metrics, training, row.rate, row.speed))
    columns = ("job", "run", *compared.metrics, "training", "samples/s", "speed")
    return join([
        paragraphs(sentences), table(columns, rows, range(2, len(columns))), paragraphs(compared.notes, "dim"),
    ])  # fmt: skip


def _settings(names: Sequence[str], changed: Mapping[str, list[str]]) -> Content:
    if not changed:
        return element("p", "nothing that their plans know")
    return table(("", *names), ((name, *row) for name, row in changed.items()))


def _shares(named: Sequence[tuple[str, RunFiles]]) -> Content:
    """Return a table with the share of each phase in the time of each run that is done."""
    shares = [(name, rounded_percentages(run.summary["shares"])) for name, run in named if run.summary.get("shares")]
    phases = list(dict.fromkeys(phase for _, one in shares for phase in one))
    rows = ((phase, *(f"{one[phase]:.1f}" if phase in one else UNKNOWN for _, one in shares)) for phase in phases)
    return table(("", *(name for name, _ in shares)), rows, range(1, len(shares) + 1)) if shares else ""


def _missing(named: Sequence[tuple[str, RunFiles]]) -> Content:
    remarks: list[Any] = [element("li", f"{name}: {remark}") for name, run in named for remark in run.remarks]
    return element("ul", *remarks) if remarks else ""
