"""Functions and scripts in a fork of the tests, which has imported torch already: a process of its own, without its start."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from tests.support.drill_length import times
from tests.support.forked_popen import ForkedPopen


@dataclass
class Ended:
    """How a script ended.

    Args:
        code: its exit code; 1 where it raised, as Python has it.
        stdout: the text that it printed.
        stderr: the text that it printed as errors, its traceback among it.
    """

    code: int
    stdout: str
    stderr: str


def run_script(
    script: Path, *words: object, cwd: Path, path: Sequence[Path] = (), error_on_warning: bool = False,
    prepare: Callable[[], object] = bool,
) -> Ended:  # fmt: skip
    """Return how `python script words...` ends, run in a fork of this process.

    Args:
        script: the file.
        words: its arguments.
        cwd: the directory that it is started in.
        path: folders to look for modules in, before all others but the script's own.
        error_on_warning: whether a warning raises, as by `python -W error`.
        prepare: called in the fork, before the script.

    What it starts of Python runs in a fork too.
    """

    def run() -> None:
        subprocess.Popen = ForkedPopen  # type: ignore[misc]
        warnings.resetwarnings()
        warnings.simplefilter("error" if error_on_warning else "default")
        os.chdir(cwd)
        sys.argv[:] = [str(script), *map(str, words)]
        sys.path[:0] = [str(script.parent), *map(str, path)]
        prepare()
        runpy.run_path(str(script), run_name="__main__")

    return run_forked(run)


def run_code(code: str, *words: object) -> Ended:
    """Return how `python -c code words...` ends, run in a fork of this process."""

    def run() -> None:
        warnings.resetwarnings()
        sys.argv[:] = ["-c", *map(str, words)]
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), vars(main))

    return run_forked(run)


def run_forked(work: Callable[[], object]) -> Ended:
    """Return how a function ends that is called in a fork of this process, which has one thread."""
    (ended,) = run_all_forked([work])
    return ended


def run_all_forked(works: Sequence[Callable[[], object]]) -> list[Ended]:
    """Return how functions end that are called at the same time, each in a fork of this process."""
    with TemporaryDirectory() as folder:
        children = []
        for number, work in enumerate(works):
            texts = [Path(folder, f"{name}-{number}") for name in ("stdout", "stderr")]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: none of them is used in it
                child = os.fork()
            if child == 0:
                _end_with(work, texts)
            children.append((child, texts))
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child, _ in children]
        return [Ended(code, *(text.read_text() for text in texts)) for code, (_, texts) in zip(codes, children, strict=True)]


def _end_with(work: Callable[[], object], texts: list[Path]) -> None:
    """Call the function in the fork, and end the fork."""
    code = 1
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(times(600, 2400))  # whatever it waits for
    try:
        for number, text in enumerate(texts, 1):
            os.dup2(os.open(text, os.O_WRONLY | os.O_CREAT), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        work()
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
