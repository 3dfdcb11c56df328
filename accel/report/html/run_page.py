"""The page of one run."""

from __future__ import annotations

from functools import partial

from accel.report.formatting import suggestions_text
from accel.report.html import run_sections
from accel.report.html.advice_section import advice
from accel.report.html.diagnosis_sections import ablation, diagnosis
from accel.report.html.export_section import exports
from accel.report.html.markup import Content, Markup, element, join, paragraphs
from accel.report.html.page import Page
from accel.report.record.run_files import RunFiles

__all__ = ["run_page"]

SECTIONS = {
    "Curves": run_sections.curves,
    "Where the time went": run_sections.time,
    "Measured by watches": run_sections.watches,
    "Diagnosis": diagnosis,
    "What each plugin brings": ablation,
    "The model on this machine": advice,
    "Exports": exports,
    "Plan": run_sections.plan,
    "Machine": run_sections.machine,
    "Files": run_sections.files,
}
"""Sections of the page, in order, each with what makes it of a run; empty ones are left out."""


def run_page(run: RunFiles) -> str:
    """Return the page of a run: made of what is there, with what is not."""
    facts = run.plan.get("facts")
    known = facts if isinstance(facts, dict) else {}
    page = Page(_name(run), [", ".join(str(known[name]) for name in ("model", "data", "device") if name in known)])
    page.add(partial(run_sections.progress, run))
    page.add(partial(_remarks, run))
    page.add(partial(run_sections.tiles, run))
    for title, make in SECTIONS.items():
        page.add(partial(make, run), title)
    page.add(partial(_missing, run), "What is not there")
    page.add(lambda: element("footer", "written by accel; python -m accel report RUN makes it anew, and compares runs"))
    return page.html()


def _name(run: RunFiles) -> str:
    path = run.path.resolve()
    return "/".join(path.parts[-2:]) if len(path.parts) > 2 else path.name


def _remarks(run: RunFiles) -> Content:
    """Return what the run has to say beside its numbers: how it ended, what the disk did not take, and what parts remarked."""
    summary = run.summary
    if not summary:
        return Markup("")
    bad = [summary.get("divergence")] + [
        f"{name} could not be written: {reason}" for name, reason in (summary.get("unsaved") or {}).items()
    ]
    plain = [
        summary.get("stopped") and f"ended early: {summary['stopped']}",
        suggestions_text(summary.get("suggestions") or {}), *(summary.get("remarks") or []),
    ]  # fmt: skip
    return join([paragraphs(filter(None, bad), "bad"), paragraphs(filter(None, plain))])


def _missing(run: RunFiles) -> Content:
    return element("ul", *(element("li", remark) for remark in run.remarks)) if run.remarks else Markup("")
