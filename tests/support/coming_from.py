"""Programs of examples/coming_from: run, changed, killed, and what they print."""

from __future__ import annotations

import builtins
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.forked_process import Ended, run_script
from tests.support.rank_processes import ROOT
from tests.support.waiting import wait_until

PROGRAMS = ROOT / "examples/coming_from"
ENDLESS = {"max_norm=1.0": "max_norm=1000.0", "gradient_clip_val=1.0": "gradient_clip_val=1000.0", "(), 1.0)": "(), 1000.0)"}
"""A limit on the gradient that none reaches, in every program. Where one acts, accel divides by what others multiply with."""


@dataclass(frozen=True)
class Printed:
    """What a program prints.

    Args:
        losses: the loss of each update, as it is printed, by the update's number from 1.
        metrics: what it prints of each evaluation, without `epoch`.
    """

    losses: dict[int, str]
    metrics: list[str]

    def differences(self, other: Printed) -> dict[int, float]:
        """Return how far the losses of the updates that both have made are apart, each as a share of this one's."""
        both = self.losses.keys() & other.losses.keys()
        return {number: abs(float(self.losses[number]) / float(other.losses[number]) - 1) for number in sorted(both)}


def read(text: str) -> Printed:
    """Return what a program has printed."""
    losses = {int(number): loss for number, loss in re.findall(r"^update (\d+) loss (\S+)$", text, re.MULTILINE)}
    return Printed(losses, re.findall(r"^epoch (.+)$", text, re.MULTILINE))


def changed(name: str, folder: Path, changes: Mapping[str, str]) -> Path:
    """Write a program with some of its text replaced into a folder, and return its path. One of the texts must be there."""
    text = (PROGRAMS / f"{name}.py").read_text(encoding="utf-8")
    assert not changes or any(old in text for old in changes), f"{name} has none of {sorted(changes)}"
    for old, new in changes.items():
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


def run(name: str, folder: Path, changes: Mapping[str, str] | None = None) -> Printed:
    """Run a program in a folder of its own, which it makes its files in, and return what it prints.

    Args:
        name: of the file, without its ending.
        folder: made if it is not there.
        changes: texts to replace in the program, by the old ones; of those that it has not, nothing becomes.
    """
    ended = run_script(changed(name, folder, changes or {}), cwd=folder)
    assert ended.code == 0, ended.stdout + ended.stderr
    if name.endswith("_after"):  # a peer's warnings are its own
        warned = re.findall(r"AccelWarning: (.+)", ended.stderr)
        assert all("holds no checkpoint yet; the run begins" in warning for warning in warned), warned
    return read(ended.stdout)


def run_killed(name: str, folder: Path, after: int, saved: Callable[[], bool], changes: Mapping[str, str] | None = None) -> Printed:
    """Run a program and end its process at once, as `kill -9` does, after an update, as soon as a checkpoint is there.

    Args:
        name: of the file, without its ending.
        folder: made if it is not there.
        after: the number of the update, from 1.
        saved: returns whether a checkpoint is there; asked in the folder.
        changes: texts to replace in the program, by the old ones.
    """
    path = changed(name, folder, changes or {})
    show = builtins.print

    def show_and_end(*words: object, **more: object) -> None:
        show(*words, **more)  # type: ignore[call-overload]
        if str(words[0]).startswith(f"update {after} "):
            wait_until(saved, "a checkpoint")
            os.kill(os.getpid(), 9)

    builtins.print = show_and_end  # type: ignore[assignment]
    try:
        ended: Ended = run_script(path, cwd=folder)
    finally:
        builtins.print = show
    assert ended.code == -9, ended.stdout + ended.stderr
    return read(ended.stdout)
