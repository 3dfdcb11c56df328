"""The files of a run directory, as far as they are there and whole, and what is to be said of the others."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from accel.errors import ConfigError
from accel.report.curves import Curves, Floats, column, parse, read
from accel.system.disk_errors import nearest_beside, readable

__all__ = ["DOCUMENTS", "LARGEST", "LOCK", "METRICS", "TIMES", "RunFiles", "Times", "expanded", "read_run", "summary_is_old"]

METRICS, TIMES, CONFIG = "metrics.jsonl", "times.jsonl", "config.yaml"
DOCUMENTS = {"summary": 1, "plan": 1, "task": 1, "doctor": 1, "ablate": 1, "advise": 1, "export": 1}
"""JSON documents by their names without `.json`, each with the newest schema that is known here."""
LOCK = ".lock"
"""Name of the lock file. It is left behind by a process that was killed; the system knows whether the lock still holds."""
LARGEST = 1 << 26
"""Bytes; accel writes no larger document."""


@dataclass
class Times:
    """The content of times.jsonl: moments of a run, in order."""

    update: Floats
    seconds: Floats
    """Of the run so far, (n,)."""
    training: Floats
    """Of its updates among them."""
    waited: Floats
    """Spent waiting for data."""
    samples: Floats
    memory: Floats
    """Bytes; NaN where nobody tells."""

    def at(self, update: Floats) -> Floats:
        """Return the seconds of the run at some updates, between two moments in proportion; NaN outside of them.

        Args:
            update: (n,).
        """
        seconds: Floats = np.interp(update, self.update, self.seconds, left=np.nan, right=np.nan)
        return seconds


@dataclass
class RunFiles:
    """A run as its directory has it.

    Args:
        path: the run directory.
        documents: content of the JSON documents that are there, by their names without `.json`.
        curves: numbers of metrics.jsonl; None without the file.
        times: moments of times.jsonl; None if there are not two.
        config: content of config.yaml; empty for a run that was started in Python.
        files: all files, relative to the directory.
        remarks: what is missing or damaged, a sentence each.
    """

    path: Path
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    curves: Curves | None = None
    times: Times | None = None
    config: str = ""
    files: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json; empty if it is not there."""
        return self.documents.get("summary", {})

    @property
    def plan(self) -> dict[str, Any]:
        """The content of plan.json; empty if it is not there."""
        return self.documents.get("plan", {})


def read_run(path: Path, summary: dict[str, Any] | None = None, curves: Curves | None = None) -> RunFiles:
    """Return a run, read as far as it is there.

    Args:
        path: the run directory.
        summary: content of its summary.json, which is about to be written; None to read it.
        curves: numbers of its metrics.jsonl, if they have been read already.

    Raises:
        ConfigError: if it is no run directory, or cannot be looked at.
    """
    with readable(path):
        if not path.is_dir():
            raise ConfigError(
                f"{path} is no run directory{'' if path.exists() else nearest_beside(path)}; name the folder of a run"
            )
        run = RunFiles(path, files=sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()))
    if not {METRICS, "plan.json", "summary.json"} & set(run.files):
        raise ConfigError(f"{path} is no run directory: it has neither plan.json nor {METRICS} nor summary.json")
    if summary is not None:
        run.documents["summary"] = summary
    for name in DOCUMENTS:
        if name not in run.documents:
            _read_document(run, name)
    _read_lines(run, curves)
    if CONFIG in run.files:
        run.config = _text(run, CONFIG)
    return run


def expanded(paths: list[Path]) -> list[Path]:
    """Return the runs that paths name: each itself, or the numbered runs in the directory of a multirun, in order."""
    runs: list[Path] = []
    for path in paths:
        with readable(path):
            jobs = [job for job in path.glob("[0-9]*") if job.name.isdigit() and (job / "plan.json").exists()]
            own = any((path / name).exists() for name in ("plan.json", METRICS, "summary.json"))
        runs += [path] if own or not jobs else sorted(jobs, key=lambda job: int(job.name))
    return runs


def _read_document(run: RunFiles, name: str) -> None:
    """Read a document, if it is there and of a schema that is known here; else add what is to be said of it."""
    file = f"{name}.json"
    if file not in run.files:
        if name == "summary":
            ending = "is still going, or was killed" if LOCK in run.files else "was stopped or failed before its end"
            run.remarks.append(f"{file} is not there: the run {ending}")
        elif name == "plan":
            run.remarks.append(f"{file} is not there: the plan and the machine are not known")
        return
    try:
        if (run.path / file).stat().st_size > LARGEST:
            raise ValueError("too large")
        content = json.loads((run.path / file).read_bytes())
    except OSError as error:
        run.remarks.append(f"{file} cannot be read: {error.strerror or error}")
    except (ValueError, RecursionError):
        run.remarks.append(f"{file} is damaged, and left out")
    else:
        schema = content.get("schema") if isinstance(content, dict) else None
        if type(schema) is int and 0 < schema <= DOCUMENTS[name]:
            run.documents[name] = content
        else:
            newer = type(schema) is int and schema > DOCUMENTS[name]
            run.remarks.append(
                f"{file} has schema {schema}, and this accel knows {DOCUMENTS[name]}: draw the report with the accel that wrote it"
                if newer else f"{file} is none that accel has written, and is left out"
            )  # fmt: skip


def _read_lines(run: RunFiles, curves: Curves | None) -> None:
    """Read the numbers and the times of the updates."""
    if METRICS not in run.files:
        run.remarks.append(f"{METRICS} is not there, so there are no curves: the run went without the plugin metrics")
        return
    try:
        run.curves = read(run.path / METRICS) if curves is None else curves
        if TIMES in run.files:
            rows = parse((run.path / TIMES).read_bytes().splitlines())
            rows.sort(key=lambda row: float(row["update"]))
            numbers = [column(rows, name) for name in ("update", "seconds", "training", "waited", "samples", "memory")]
            whole = np.isfinite(np.stack(numbers[:5])).all(axis=0)
            run.times = Times(*(values[whole] for values in numbers)) if whole.sum() > 1 else None
    except OSError as error:
        run.remarks.append(f"{error.filename} cannot be read: {error.strerror or error}")
    if summary_is_old(run):
        run.remarks.append(
            f"summary.json is that of update {run.summary['updates']:,}, and is left out: the run has gone on since, to another end"
        )
        del run.documents["summary"]
    if run.curves is not None and run.curves.damaged:
        run.remarks.append(f"{run.curves.damaged:,} lines of {METRICS} are damaged, and left out")
    if run.times is None:
        run.remarks.append(f"{TIMES} is not there, or too short: nothing is drawn over seconds, nor the wait for data, nor memory")
    if not run.summary:
        with readable(run.path):
            moment = datetime.fromtimestamp((run.path / METRICS).stat().st_mtime)
        run.remarks.append(f"{METRICS} was last written on {moment:%Y-%m-%d at %H:%M:%S}")


def summary_is_old(run: RunFiles) -> bool:
    """Return whether a run has gone on since its summary was written, by what it has done since."""
    updates = run.summary.get("updates")
    return isinstance(updates, int) and run.curves is not None and bool((run.curves.update > updates).any())


def _text(run: RunFiles, file: str) -> str:
    try:
        return (run.path / file).read_bytes()[:LARGEST].decode(errors="replace")
    except OSError as error:
        run.remarks.append(f"{file} cannot be read: {error.strerror or error}")
        return ""
