"""`python -m accel drill`: from arguments to an exit code. 0: every trial passed; 1: one did not; 2: it cannot be done."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from accel.cli.compose.compose import compose
from accel.cli.compose.config import Chosen, Config
from accel.errors import ConfigError, nearest

if TYPE_CHECKING:
    from accel.testing.drill.drill import Report
    from accel.testing.drill.struck_run import Body

__all__ = ["EVERY", "HELP", "KINDS", "arguments", "check", "drill", "forked", "fresh", "kind_of", "main", "terminable"]

KINDS = {
    "kill": "kill -9 at random instants, resumed until it is done",
    "term": "SIGTERM and SIGINT at random instants: exit code 75, in time",
    "corrupt": "killed, and its newest checkpoint damaged",
    "disk": "no room on the disk for some writes",
    "worker": "a process of the loader killed",
}
EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal."""

HELP = """\
usage: python -m accel drill KIND [FLAG ...] [OVERRIDE ...]

Trains what the overrides say once, left alone, and then so many times while
this happens to it:

{kinds}

Each must end with the same bits: weights, optimiser, random numbers,
metrics.jsonl. The exit code is 0 where all do, 1 where one does not.

  --n N            trials (20)
  --seed N         of what is drawn (a new one, which is printed)
  --trial K        only trial number K of that seed
  --within S       seconds that a run has to stop when it is asked to, besides
                   its slowest update (5)
  --dir DIR        for the runs (a temporary folder); those that fail are kept
  --fresh          each run a process of its own, which imports all anew;
                   without it they are forked

OVERRIDE is what python -m accel.train takes, such as '+plugins=[amp,ema]'
epochs=2 checkpoint.every=10. A config that ends in seconds makes a good drill."""


def main(argv: Sequence[str]) -> int:
    """Does what the arguments say; returns the exit code.

    Raises:
        ConfigError: for what cannot work.
    """
    args = arguments(argv)
    if args.help or not argv:
        print(HELP.format(kinds="\n".join(f"  {name:16} {what}" for name, what in KINDS.items())))
        return 0
    if not hasattr(os, "fork"):
        raise ConfigError("drills fork processes, which this system does not do")
    kind, overrides = kind_of(args.words), args.words[1:]
    if args.fresh and kind == "disk":
        raise ConfigError("the writes of a process of its own cannot be made to fail; leave --fresh out")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy begins threads when it is imported, and a fork must find none
    config = compose(overrides)
    check(config)
    seed = int.from_bytes(os.urandom(3), "big") if args.seed is None else args.seed
    numbers = range(args.n) if args.trial is None else range(args.trial, args.trial + 1)
    again = ["python", "-m", "accel", "drill", kind, "--seed", str(seed), *(["--fresh"] if args.fresh else [])]
    folder = Path(tempfile.mkdtemp(prefix="accel-drill-")) if args.dir is None else Path(args.dir).expanduser()
    if args.dir is not None and folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"--dir {folder} is not empty; name another folder")
    bad = True
    try:
        found = drill(kind, fresh(overrides) if args.fresh else forked(config), folder, seed, args.within, numbers)
        bad = any(report.failure for report in found)
    finally:
        if not bad or not any(folder.glob("trial-*")):
            shutil.rmtree(folder, ignore_errors=True)
    for report in found:
        if report.failure:
            print(f"trial {report.number}: {report.failure}\n  {report.folder}; repeated by")
            print(f"  {shlex.join([*again, '--trial', str(report.number), *overrides])}")
    return int(bad)


@contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM ends this process as Ctrl-C does: what was begun is taken down with it."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@terminable()
def drill(kind: str, body: Body, folder: Path, seed: int, within: float, numbers: range) -> list[Report]:
    """Runs the drill, and says how it goes and what came of it."""
    from accel.testing.drill.drill import Drill
    from accel.testing.drill.results_table import summary

    found = Drill(kind, body, folder.resolve(), seed, within)
    print(f"{KINDS[kind]}; seed {seed}", flush=True)
    found.reference()
    print(f"left alone it takes {found.seconds:.1f} s", flush=True)
    if found.reference_difference:
        print(
            f"accel: warning: two runs that nobody strikes differ already: {found.reference_difference}; so will the trials",
            file=sys.stderr,
        )
    reports: list[Report] = []
    terminal, told = sys.stdout.isatty(), monotonic()
    for report in found.trials(numbers):
        reports.append(report)
        failed = sum(bool(one.failure) for one in reports)
        line = f"trial {len(reports)} of {len(numbers)}: {sum(one.strikes for one in reports)} strikes, {failed} failed"
        if terminal:
            print(f"\r{line} ", end="", flush=True)
        elif monotonic() - told > EVERY:
            print(line, flush=True)
            told = monotonic()
    print(f"\r{summary(kind, reports)}" if terminal else summary(kind, reports), flush=True)
    return reports


def forked(config: Config) -> Body:
    """Trains in a fork of this process, in which everything has been imported."""
    import torch.fx.experimental.symbolic_shapes  # noqa: F401 - what the first backward pass imports, in a second

    from accel.cli.job import launch

    config.trainer()

    def body(out: Path, resume: bool, pulse: Path) -> int:
        settings = replace(config.settings, out=str(out), resume="auto" if resume else None)
        watch = Chosen("accel.testing.drill.update_log.UpdateLog", "Watch", {"path": str(pulse)})
        return launch([replace(config, settings=settings, plugins={**config.plugins, "pulse": watch})], [], many=False)

    return body


def fresh(overrides: Sequence[str]) -> Body:
    """Trains in a process of its own."""
    from accel.system.shell_quoting import override

    def words(name: str, text: object) -> str:
        return shlex.split(override(name, text))[0]

    def body(out: Path, resume: bool, pulse: Path) -> int:
        own = [word for word in overrides if not word.lstrip("+").startswith(("out=", "resume="))]
        where = [words("out", out), *(["resume=auto"] if resume else [])]
        watch = ["+plugins.pulse._target_=accel.testing.drill.update_log.UpdateLog", words("+plugins.pulse.path", pulse)]
        os.execv(sys.executable, [sys.executable, "-m", "accel.train", *own, *where, *watch])

    body.fresh = True  # type: ignore[attr-defined]
    return body


def kind_of(words: Sequence[str]) -> str:
    """The kind of drill. Raises ConfigError for one that there is not."""
    if not words:
        raise ConfigError(f"drill takes what shall happen first: {', '.join(KINDS)}; python -m accel drill --help says more")
    if words[0] not in KINDS:
        raise ConfigError(f"no drill is called {words[0]!r}{nearest(words[0], KINDS)}; there is {', '.join(KINDS)}")
    return words[0]


def check(config: Config) -> None:
    """Raises ConfigError for what a drill cannot repeat."""
    for name in ("dry_run", "resume"):
        if getattr(config.settings, name):
            raise ConfigError(f"a drill runs the whole of it from its beginning, so leave {name} out")
    if config.settings.out is not None:
        raise ConfigError("a drill makes its own run directories, so leave out out=; --dir names where")


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The flags and words. Raises ConfigError for a flag or a value that there is not."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("words", nargs="*")
    for flag, kind, default in (("--n", int, 20), ("--seed", int, None), ("--trial", int, None), ("--within", float, 5.0)):
        reader.add_argument(flag, type=kind, default=default)
    reader.add_argument("--dir")
    reader.add_argument("--fresh", action="store_true")
    reader.add_argument("-h", "--help", action="store_true")
    known = [text for action in reader._actions for text in action.option_strings]

    def fail(message: str) -> NoReturn:
        unknown = [word.partition("=")[0] for word in argv if word.startswith("-") and word.partition("=")[0] not in known]
        if unknown:
            raise ConfigError(
                f"drill has no flag {unknown[0]!r}{nearest(unknown[0], known)}; python -m accel drill --help lists them"
            )
        raise ConfigError(message.removeprefix("argument "))

    reader.error = fail  # type: ignore[method-assign]
    args = reader.parse_intermixed_args(argv)
    for flag in ("n", "seed", "trial", "within"):
        value, least = getattr(args, flag), 1 if flag == "n" else 0
        if value is not None and value < least:
            raise ConfigError(f"--{flag} must be {least} or more, not {value}")
    return args
