"""Packing in a terminal: bars while stores are made, and tables of what was made, would be made, or is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from accel.data.picture_names import PassedOver
from accel.data.stores.encode_pool import UnreadablePicture, encode_one
from accel.data.stores.formats import FORMATS, store_at, stores_in
from accel.data.stores.packing import Packing, check_records
from accel.data.stores.store_info import StoreInfo
from accel.errors import ConfigError, listed, nearest
from accel.report.formatting import elapsed, short_count

__all__ = ["REDRAW", "RIGHT", "SAMPLE", "PackingBar", "check", "dry_run", "pack", "show_passed_over"]

SAMPLE = 48
"""Pictures that a dry run encodes."""
REDRAW = 0.2
"""Seconds between two drawings of the bar."""
RIGHT = ("records", "left out", "bytes", "bytes now", "bytes then", "pictures", "time", "pictures/s")
"""Columns of numbers."""


def pack(console: Console, jobs: Sequence[Packing]) -> int:
    """Make every store that is not there, print a table of them, and return exit code 0. Raise ConfigError if one cannot be."""
    rows = []
    for job in jobs:
        start = perf_counter()
        if (about := job.existing()) is not None:
            console.print(f"{job.path} is there already: {about.count:,} records; --check reads them all", soft_wrap=True)
            continue
        about = PackingBar(console, job).run()
        rows.append((job, about, perf_counter() - start))
        show_passed_over(console, job)
        if job.kept_as_is.counts:
            console.print(f"kept as they are in {job.path.name}: {job.kept_as_is.describe()}", soft_wrap=True)
        for reason in job.skip_reasons:
            console.print(f"left out: {reason}", soft_wrap=True)
    if rows:
        console.print(_results(rows))
    if jobs[0].recipe.changed:
        console.print(f"these are other pictures than those of the source: {jobs[0].recipe.changed}", soft_wrap=True)
    return 0


def show_passed_over(console: Console, job: Packing) -> None:
    """Print which files of the source are no samples, if there are any."""
    passed_over: PassedOver = getattr(job.source, "passed_over", PassedOver())
    if passed_over.counts:
        console.print(f"passed over for {job.path.name}: {passed_over.describe()}", soft_wrap=True)


def _results(rows: Sequence[tuple[Packing, StoreInfo, float]]) -> Table:
    """Return the table of finished stores: each with its job and the seconds that it took."""
    some_left_out = any(about.skipped for _, about, _ in rows)
    table = _table("store", "encoding", "records", *(["left out"] if some_left_out else []), "bytes", "time", "pictures/s")
    for job, about, seconds in rows:
        left_out = [f"{len(about.skipped):,}"] if some_left_out else []
        rate = short_count((about.count - job.resumed) / seconds)
        size = f"{short_count(job.path.stat().st_size)}B"
        table.add_row(str(job.path), about.encoding, f"{about.count:,}", *left_out, size, elapsed(seconds), rate)
    return table


class PackingBar:
    """The bar of one store while it is made.

    Args:
        console: where it is drawn; nothing is unless it is a terminal.
        job: makes the store.
    """

    def __init__(self, console: Console, job: Packing) -> None:
        self.console, self.job = console, job
        self.phase, self.phase_start, self.last_draw = "", 0.0, 0.0
        rate = TextColumn("{task.fields[rate]}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
        self.progress = Progress(*columns, console=console, transient=True, auto_refresh=False, disable=not console.is_terminal)
        self.task = self.progress.add_task("", total=len(job.source), rate="")

    def run(self) -> StoreInfo:
        """Make the store; return its description. Raise ConfigError if a picture cannot be read, or nothing can be written."""
        self.job.on_progress = self.advance
        with self.progress:
            return self.job.run()

    def advance(self, phase: str, pictures: int) -> None:
        """Draw that so many more pictures are through a phase, such as `packing`."""
        now = perf_counter()
        if phase != self.phase:
            self.phase, self.phase_start = phase, now
            self.progress.reset(self.task, description=f"{phase} {self.job.path.name}")
            if self.kept:
                self.console.print(f"going on with {self.job.path.name}: {self.kept:,} records are there already")
        self.progress.advance(self.task, pictures)
        if now - self.last_draw > REDRAW:
            self.last_draw = now
            count = self.progress.tasks[0].completed - self.kept
            self.progress.update(self.task, rate=f"{short_count(count / max(now - self.phase_start, 1e-9))}/s", refresh=True)

    @property
    def kept(self) -> int:
        """Records of an earlier try, which count for no time of this phase."""
        return self.job.resumed if self.phase == "packing" else 0


def dry_run(console: Console, jobs: Sequence[Packing]) -> int:
    """Encode some pictures of each job, print an estimate for all of them, and return exit code 0."""
    table = _table("store", "pictures", "bytes now", "bytes then", "time")
    for job in jobs:
        show_passed_over(console, job)
        count = len(job.source)
        numbers = sorted({number * count // SAMPLE for number in range(SAMPLE)})
        start = perf_counter()
        results = [encode_one(job.source, job.recipe, number) for number in numbers]
        seconds = (perf_counter() - start) / len(numbers) * count / job.workers
        for bad in (result for result in results if isinstance(result, UnreadablePicture)):
            console.print(f"cannot be packed: {bad.reason}", soft_wrap=True)
        encoded = [len(result.content) for result in results if not isinstance(result, UnreadablePicture)]
        bytes_then = sum(encoded) / len(numbers) * count
        bytes_now = sum(len(job.source.get(number)) for number in numbers) / len(numbers) * count
        table.add_row(
            str(job.path), f"{count:,}", f"{short_count(bytes_now)}B", f"{short_count(bytes_then)}B", f"about {elapsed(seconds)}"
        )
    console.print(table)
    console.print(f"from {SAMPLE} pictures of each, with {jobs[0].workers} processes; nothing was written")
    return 0


def check(console: Console, paths: Sequence[Path]) -> int:
    """Read every record of the stores in `paths` and print their state; return 1 if one is damaged, else 0.

    Raises:
        ConfigError: if a path does not exist, or there is no store in `paths`.
    """
    for path in paths:
        if not path.exists():
            hint = nearest(path.name, [store.name for store in stores_in(path.parent)] if path.parent.is_dir() else [])
            raise ConfigError(f"--check {path}: there is no such file or folder{hint}")
        if path.is_file() and path.suffix[1:] not in FORMATS:
            raise ConfigError(f"--check {path}: it is no store; the name of one ends in .{' or .'.join(FORMATS)}")
    files = [file for path in paths for file in (stores_in(path) if path.is_dir() else [path])]
    if not files:
        raise ConfigError("--check found no store (a file that ends in .lmdb or .raw); name one, or a folder that holds some")
    table, code = _table("store", "encoding", "records", "bytes", "state"), 0
    for file in files:
        try:
            store = store_at(file)
            bad = [number for number, sound in check_records(store) if not sound]
            state = f"{len(bad):,} damaged: {listed(map(store.key, bad), 3)}" if bad else "sound"
            table.add_row(str(file), store.encoding, f"{len(store):,}", f"{short_count(file.stat().st_size)}B", state)
            code = 1 if bad else code
        except ConfigError as error:
            table.add_row(str(file), "-", "-", f"{short_count(file.stat().st_size)}B" if file.exists() else "-", str(error))
            code = 1
    console.print(table)
    return code


def _table(*names: str) -> Table:
    """Return an empty table with these columns, those of numbers to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
    for name in names:
        table.add_column(name, justify="right" if name in RIGHT else "left", overflow="fold")
    return table
