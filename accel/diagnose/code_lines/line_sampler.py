"""A sampler of the line of code that a thread is at, and of how long it stays there."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Event, get_ident
from time import perf_counter
from types import FrameType
from typing import Any, NamedTuple, Self

from accel.device.cuda.device_threads import DeviceThread
from accel.device.host_reads import source_line
from accel.diagnose.decision.figures import CodeLine
from accel.system.call_stack import ACCEL_ROOT, PACKAGE_FOLDERS, is_user_code, is_user_file

__all__ = ["INTERVAL", "NAMED", "LineSampler", "Place", "busiest"]

INTERVAL = 5e-4
"""Seconds between two samples, at least."""
SWITCH = 2e-5
"""Seconds after which a thread that computes in Python lets the sampler look. With Python's own 5 ms it would be seen only where
it lets go of the interpreter by itself: in operators, and when it waits."""
NAMED = 0.4
"""Share of the time from which on one line, or one function, is named as where it goes."""


class Place(NamedTuple):
    """Line of code that was seen."""

    file: str
    line: int
    function: str


class LineSampler:
    """Sampler of the thread that enters it. A sample counts for the time since the one before.

    It looks for the innermost line of the user's own code, and where there is none, for the outermost call of a package other than
    torch. What the user's code calls counts for the line that calls it. Nothing outside of the block that it is entered in counts.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, dict[Place | None, float]] = {}
        """Seconds by activity and place; None is neither the user's code nor a package's."""
        self.samples: list[tuple[Place | None, float]] = []
        self.taken = 0
        """Samples that were booked."""
        self.done = Event()

    def __enter__(self) -> Self:
        self.thread, self.outermost = get_ident(), sys._getframe(1)
        self.switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        self.sampler = DeviceThread(target=self.sample, daemon=True)
        self.sampler.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.sampler.join()
        sys.setswitchinterval(self.switch_interval)
        del self.outermost

    def sample(self) -> None:
        """Look at the thread again and again. The work of a thread of its own."""
        last = perf_counter()
        while not self.done.wait(INTERVAL):
            frame = sys._current_frames().get(self.thread)
            now = perf_counter()
            self.samples.append((self.place_of(frame), now - last))
            last = now

    def place_of(self, frame: FrameType | None) -> Place | None:
        """Return where a thread is, by its innermost frame."""
        package: Place | None = None
        while frame is not None and frame is not self.outermost:
            owner = _owner(frame.f_code.co_filename, frame.f_globals.get("__file__"))
            if owner:
                place = Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
                if owner == "user":
                    return place
                package = place
            frame = frame.f_back
        return package

    def book(self, activity: str) -> None:
        """Count what was seen since the last call for an activity."""
        samples, self.samples = self.samples, []
        self.taken += len(samples)
        booked = self.seconds.setdefault(activity, defaultdict(float))
        for place, seconds in samples:
            booked[place] += seconds

    def forget(self) -> None:
        """Forget what was seen so far."""
        self.samples, self.seconds, self.taken = [], {}, 0

    def busiest(self, *activities: str) -> CodeLine | None:
        """Return the line on which much of the time of some activities goes, or the function; None if it is spread."""
        total: dict[Place | None, float] = defaultdict(float)
        for activity in activities:
            for place, seconds in self.seconds.get(activity, {}).items():
                total[place] += seconds
        return busiest(total)


@cache
def _owner(file: str, module_file: Any) -> str:
    """Return whose a frame is: `"user"`, `"package"`, or nobody's who is named."""
    if file.startswith("<") and not is_user_file(module_file):
        return ""
    if is_user_code(file):
        return "user"
    folder = next((one for one in PACKAGE_FOLDERS if one in file), None)
    if folder is None or file.startswith(f"{ACCEL_ROOT}{os.sep}"):
        return ""
    return "" if file.partition(folder)[2].split(os.sep)[0] == "torch" else "package"


def busiest(seconds: Mapping[Place | None, float]) -> CodeLine | None:
    """Return the line that takes at least `NAMED` of the time, or else the function; None if none does."""
    whole = sum(seconds.values())
    places = {place: spent for place, spent in seconds.items() if place is not None}
    if not places or not whole:
        return None
    first = max(places, key=lambda place: places[place])
    if is_user_code(first.file) and places[first] >= NAMED * whole:
        return CodeLine(source_line(first.file, first.line), places[first] / whole)
    functions: dict[tuple[str, str], float] = defaultdict(float)
    for place, spent in places.items():
        functions[place.file, place.function] += spent
    (file, function), spent = max(functions.items(), key=lambda one: one[1])
    return CodeLine(f"{_shown(file)} {function}()", spent / whole) if spent >= NAMED * whole else None


def _shown(file: str) -> str:
    """Return a file as people look for it: relative to the folder of packages or the working directory, if it lies there."""
    for folder in PACKAGE_FOLDERS:
        if folder in file:
            return file.partition(folder)[2]
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
