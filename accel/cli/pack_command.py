"""`python -m accel pack`: from arguments to stores."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NoReturn

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from accel.cli.pack_targets import targets
from accel.data.codecs.pillow_decoder import require_pillow
from accel.data.stores.encode_pool import Bad, one
from accel.data.stores.encoding_recipe import ENCODERS, Recipe
from accel.data.stores.formats import FORMATS, store_at, stores_in
from accel.data.stores.index import About
from accel.data.stores.lmdb_store import require_lmdb
from accel.data.stores.packing import Packing, readable
from accel.errors import ConfigError, nearest
from accel.report.formatting import elapsed, short_count

__all__ = ["HELP", "INTERRUPTED", "SAMPLE", "arguments", "check", "cores", "dry_run", "main", "pack", "recipe_of", "run"]

INTERRUPTED = 130
SAMPLE = 48
"""Pictures that --dry-run encodes."""

HELP = """\
usage: python -m accel pack SRC DST [FLAG ...]
       python -m accel pack --check STORE ...

Packs class folders of pictures into one file per split, which is read as the
folder is, sample by sample and bit by bit, only faster (+plugins=[lmdb] or
[raw]). What a kill interrupts goes on when the same command is given again.

  SRC                   a folder of class folders; one with train/, val/, test/
                        folders of them, or stores or shards of these names; a
                        tar file of class folders or of WebDataset's samples; a
                        TFRecord file; several, as 'DIR/train-*.tar'; a store to
                        be packed otherwise; or a URL of any of these
  DST                   the folder of the stores (SRC itself will do: plugins
                        look there first), or for one split a file, NAME.lmdb

  --format lmdb|raw     lmdb: encoded pictures (default); raw: pixels in a
                        memory-mapped file
  --encoding NAME       original: the files' own bytes (default of lmdb);
                        {encodings} (default of raw)
  --short-side PIXELS   shrink pictures whose shorter side is longer
  --max-side PIXELS     shrink pictures whose longer side is longer
  --quality N           of JPEG, 1 to 95 (90)
  --workers N           processes that encode (one per core: {workers})
  --on-error skip       leave out pictures that cannot be read, and count them,
                        instead of ending at the first (raise)
  --dry-run             say how many, how large and how long, and write nothing
  --check               read every record of finished stores; exit code 1 where
                        one is damaged"""


def main(argv: Sequence[str]) -> int:
    """Does what the arguments say; returns the exit code.

    Raises:
        ConfigError: for what cannot work, or cannot be read or written.
    """
    args = arguments(argv)
    console = Console(highlight=False, markup=False)
    if args.help or not argv:
        encodings = ", ".join(name for name in sorted(ENCODERS) if name != "original")
        console.print(HELP.format(encodings=encodings, workers=cores()), soft_wrap=True)
        return 0
    if args.check:
        return check(console, [Path(path).expanduser() for path in args.paths])
    if len(args.paths) != 2:
        raise ConfigError(f"pack takes SRC and DST, and {len(args.paths)} were given; python -m accel pack --help says more")
    require_pillow()
    recipe = recipe_of(args)
    source, target = args.paths
    found = targets(source, Path(target).expanduser(), args.format)
    jobs = [Packing(store, path, recipe, args.workers, args.on_error == "skip") for store, path in found]
    if args.format == "lmdb":
        require_lmdb()
    try:
        return dry_run(console, jobs) if args.dry_run else pack(console, jobs)
    except KeyboardInterrupt:
        print("accel: interrupted; give the same command again, and it goes on from there", file=sys.stderr)
        return INTERRUPTED


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The flags and paths. Raises ConfigError for a flag or a value that there is not."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("paths", nargs="*")
    reader.add_argument("--format", default="lmdb", choices=list(FORMATS))
    reader.add_argument("--encoding", choices=list(ENCODERS))
    for flag in ("--short-side", "--max-side"):
        reader.add_argument(flag, type=int)
    reader.add_argument("--quality", type=int)
    reader.add_argument("--workers", type=int, default=cores())
    reader.add_argument("--on-error", choices=["raise", "skip"], default="raise")
    for flag in ("--dry-run", "--check", "--help"):
        reader.add_argument(flag, action="store_true")
    reader.add_argument("-h", dest="help", action="store_true")
    known = [text for action in reader._actions for text in action.option_strings]

    def fail(message: str) -> NoReturn:
        unknown = [word.partition("=")[0] for word in argv if word.startswith("-") and word.partition("=")[0] not in known]
        if unknown:
            raise ConfigError(
                f"pack has no flag {unknown[0]!r}{nearest(unknown[0], known)}; python -m accel pack --help lists them"
            )
        raise ConfigError(message.removeprefix("argument ").replace("(choose from", "(there is"))

    reader.error = fail  # type: ignore[method-assign]
    args = reader.parse_intermixed_args(argv)
    for flag, value, most in (("--workers", args.workers, 1024), ("--quality", args.quality, 95),
                              ("--short-side", args.short_side, 65500), ("--max-side", args.max_side, 65500)):  # fmt: skip
        if value is not None and not 1 <= value <= most:
            raise ConfigError(f"{flag} must be a whole number from 1 to {most}, not {value}")
    return args


def recipe_of(args: argparse.Namespace) -> Recipe:
    """What becomes of each picture."""
    encoding = args.encoding or ("raw" if args.format == "raw" else "original")
    if args.format == "raw" and encoding != "raw":
        raise ConfigError(f"--format raw holds pixels as they are; for --encoding {encoding} say --format lmdb")
    return Recipe(encoding, args.short_side, args.max_side, args.quality)


def pack(console: Console, jobs: Sequence[Packing]) -> int:
    """Makes every store, and says what came of it."""
    rows = []
    for job in jobs:
        began = perf_counter()
        if (about := job.standing()) is not None:
            console.print(f"{job.path} is there already: {about.count:,} records; --check reads them all", soft_wrap=True)
            continue
        about = run(console, job)
        rows.append((job, about, perf_counter() - began))
        for why in job.bad:
            console.print(f"left out: {why}", soft_wrap=True)
    lacking = any(about.skipped for _, about, _ in rows)
    table = _table("store", "encoding", "records", *(["left out"] if lacking else []), "bytes", "time", "pictures/s")
    for job, about, seconds in rows:
        table.add_row(
            str(job.path), about.encoding, f"{about.count:,}", *([f"{len(about.skipped):,}"] if lacking else []),
            f"{short_count(job.path.stat().st_size)}B", elapsed(seconds), short_count((about.count - job.kept) / seconds),
        )  # fmt: skip
    if rows:
        console.print(table)
    if jobs[0].recipe.changed:
        console.print(f"these are other pictures than those of the source: {jobs[0].recipe.changed}", soft_wrap=True)
    return 0


def run(console: Console, job: Packing) -> About:
    """Makes one store, with a bar."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, auto_refresh=False, disable=not console.is_terminal) as progress:
        task, doing, began, drawn = progress.add_task("", total=len(job.source), rate=""), "", 0.0, 0.0

        def tell(what: str, pictures: int) -> None:
            nonlocal doing, began, drawn
            now = perf_counter()
            if what != doing:
                doing, began = what, now
                progress.reset(task, description=f"{what} {job.path.name}")
                if job.kept and what == "packing":
                    console.print(f"going on with {job.path.name}: {job.kept:,} records are there already")
                    began = now
            progress.advance(task, pictures)
            if now - drawn > 0.2:
                drawn, done = now, progress.tasks[0].completed - (job.kept if what == "packing" else 0)
                progress.update(task, rate=f"{short_count(done / max(now - began, 1e-9))}/s", refresh=True)

        job.tell = tell
        return job.run()


def dry_run(console: Console, jobs: Sequence[Packing]) -> int:
    """Encodes a few pictures of each, and says what all of them would come to."""
    table = _table("store", "pictures", "bytes now", "bytes then", "time")
    for job in jobs:
        count = len(job.source)
        numbers = sorted({number * count // SAMPLE for number in range(SAMPLE)})
        began = perf_counter()
        found = [one(job.source, job.recipe, number) for number in numbers]
        seconds = (perf_counter() - began) / len(numbers) * count / job.workers
        for bad in (item for item in found if isinstance(item, Bad)):
            console.print(f"cannot be packed: {bad.why}", soft_wrap=True)
        then = sum(len(item.content) for item in found if not isinstance(item, Bad)) / len(numbers) * count
        now = sum(len(job.source.get(number)) for number in numbers) / len(numbers) * count
        table.add_row(str(job.path), f"{count:,}", f"{short_count(now)}B", f"{short_count(then)}B", f"about {elapsed(seconds)}")
    console.print(table)
    console.print(f"from {SAMPLE} pictures of each, with {jobs[0].workers} processes; nothing was written")
    return 0


def check(console: Console, paths: Sequence[Path]) -> int:
    """Reads every record of the stores, and of those in the folders named; 1 where one is damaged."""
    files = [file for path in paths for file in (stores_in(path) if path.is_dir() else [path])]
    if not files:
        raise ConfigError("--check found no store (a file that ends in .lmdb or .raw); name one, or a folder that holds some")
    table, code = _table("store", "encoding", "records", "bytes", "state"), 0
    for file in files:
        try:
            store = store_at(file)
            bad = [number for number, sound in readable(store) if not sound]
            state = f"{len(bad):,} damaged: {', '.join(map(store.key, bad[:3]))}{', ...' * (len(bad) > 3)}" if bad else "sound"
            table.add_row(str(file), store.encoding, f"{len(store):,}", f"{short_count(file.stat().st_size)}B", state)
            code = 1 if bad else code
        except ConfigError as error:
            table.add_row(str(file), "-", "-", f"{short_count(file.stat().st_size)}B" if file.exists() else "-", str(error))
            code = 1
    console.print(table)
    return code


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
    for name in names:
        right = name in ("records", "left out", "bytes", "bytes now", "bytes then", "pictures", "time", "pictures/s")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    return table
