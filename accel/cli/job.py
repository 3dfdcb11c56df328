"""One job of a training command: a composed and checked run, its exit code, and how to resume it."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from accel.cli import run_directories, torchrun
from accel.cli.compose.config import Config
from accel.cli.compose.config_source import ConfigSource
from accel.cli.exit_codes import FAILED, INTERRUPTED, MISTYPED
from accel.errors import BadSample, ConfigError, Interrupted, RunDirectoryTaken, TrainingError
from accel.report.terminal import say
from accel.system.disk_errors import is_disk_full
from accel.system.shell_quoting import command_line, override

__all__ = ["Job", "command_of", "is_known_to_all", "program"]


class Job:
    """One run, and its outcome once it has been run: `code`, `error` and `summary`.

    Args:
        config: the checked config.
        out: the run directory; None for that of the run that is resumed, or if nothing is written.
        program: the words that start training, with flags that a resumed run needs again.
    """

    def __init__(self, config: Config, out: Path | None, program: Sequence[str]) -> None:
        self.config, self.out, self.program = config, out, program
        kept = [word for word in config.overrides if not re.match(r"\+*(resume|out)=", word)]
        self.command = command_line([*program, *kept])
        self.summary: dict[str, Any] = {}
        self.code, self.error = 0, ""

    def run(self) -> int:
        """Train, print the error if there is one, and return the exit code. No exception passes."""
        try:
            resume = self.config.settings.resume
            if resume == "auto" and self.config.settings.out is None:
                resume = str(run_directories.newest_run())
            self.summary = self.fit(resume)
            if self.summary["unsaved"]:
                reasons = "; ".join(f"{name}: {reason}" for name, reason in self.summary["unsaved"].items())
                hint = f"make room{self.resume_hint()}"
                self._fail(FAILED, f"accel: error: the run is done, and could not be saved ({reasons}); {hint}")
            elif not self.summary["finite"] and "nonfinite" not in self.config.settings.allow:
                divergence = f"accel: error: {self.summary['divergence']}; or accept it: 'resume.allow=[nonfinite]'"
                self._fail(FAILED, divergence if torchrun.rank() == 0 else "")
        except ConfigError as error:
            torchrun.announce_failure(error)
            # a sample can turn out bad late in a run, which then can go on without it
            self._fail(MISTYPED, f"accel: error: {error}{self.resume_hint() if isinstance(error, BadSample) else ''}")
            self.error = f"accel: error: {error}"
        except TrainingError as error:
            self._fail(FAILED, f"accel: error: {error}{self.resume_hint(error.resume)}", is_known_to_all(error))
            self.error = str(error).partition(";")[0]
        except Interrupted as stop:
            self._fail(stop.code, f"accel: {stop}{self.resume_hint() or self.restart_hint()}" if torchrun.rank() == 0 else "")
            self.error = str(stop)
        except KeyboardInterrupt:
            self._fail(INTERRUPTED, f"\naccel: interrupted{self.resume_hint()}")
            self.error = "interrupted"  # the hint is too long for the table
        except Exception as error:
            self._fail(FAILED, self._describe(error))
            torchrun.announce_failure(error)
        return self.code

    def fit(self, resume: str | None) -> dict[str, Any]:
        """Train; return the summary. If another run has taken a directory that is named after the time, use a new one.

        Args:
            resume: a checkpoint or run directory to go on from; None for a new run.
        """
        while True:
            try:
                return self.config.trainer(out=self.out, resume=resume, command=self.command).fit().summary()
            except RunDirectoryTaken:
                if self.out is None or self.config.settings.out is not None or torchrun.world_size() > 1:
                    raise
                self.out = run_directories.dated_directory(datetime.now())

    def resume_hint(self, resume: str | None = None) -> str:
        """Return a clause with the command that goes on from `resume`, or from the last checkpoint; empty if there is none."""
        out = self.out or self.config.settings.resume
        folders = ("checkpoints", "generations")
        if resume is None and out is not None and any(Path(out, folder).exists() for folder in folders):
            saved = any(Path(out, "checkpoints").glob("update-*.json"))
            # where nothing was ever saved, as on a full disk, only resume=auto begins anew
            words = override("resume", out) if saved else f"resume=auto {override('out', out)}"
            return f"; go on with\n  {self.command} {words}"
        return f"; go on with\n  {self.command} {override('resume', resume)}" if resume else ""

    def restart_hint(self) -> str:
        """Return a clause with the command that begins the run anew."""
        return f"; begin again with\n  {command_line([*self.program, *self.config.overrides])}"

    def _describe(self, error: Exception) -> str:
        """Return a sentence for a full disk or a lost rank, and the user's part of the traceback for any other error."""
        if isinstance(error, OSError) and is_disk_full(error):
            return f"accel: error: {error.strerror}: {error.filename or self.out}; make room{self.resume_hint()}"
        from accel.cli.tracebacks import plugin_at_fault, user_traceback

        return torchrun.lost_peer_message(error) or f"{plugin_at_fault(error)}{user_traceback(error)}"

    def _fail(self, code: int, text: str, of_all_ranks: bool = False) -> None:
        """Set the exit code and the error, and print the error; if all ranks have it, the first prints it for all."""
        self.code, self.error = code, text.strip().rpartition("\n")[2]
        if (code == MISTYPED or of_all_ranks) and torchrun.defer_to_rank_zero():
            return
        if text:
            say(text, file=sys.stderr, flush=True)


def command_of(overrides: Sequence[str], source: ConfigSource) -> str:
    """Return the command that trains with some overrides, as one line, for a process that does something else with them.

    Args:
        overrides: as they were typed.
        source: where their config is looked for.
    """
    words = program()
    if words[-2:] == ["-m", "accel"]:  # torchrun -m accel COMMAND
        words = [*words[:-1], "accel.train"]
    return command_line([*words, *source.words, *overrides])


def is_known_to_all(error: Exception) -> bool:
    """Return whether every rank has this error."""
    return bool(getattr(error, "known_to_all_ranks", False))


def program() -> list[str]:
    """Return the words that started training in this process, as short as the shell takes them, without the arguments."""
    if torchrun.world_size() > 1:
        return torchrun.program()
    words = sys.orig_argv[: max(0, len(sys.orig_argv) - len(sys.argv) + 1)]
    name = Path(words[-1]).name if words else ""  # a program that has set sys.argv itself
    if name in ("accel", "accel-train") and words[-2:-1] != ["-m"]:  # a console script: without the Python in front
        words = words[-1:]
    if name == "accel" and sys.argv[1:2] == ["train"]:
        words = [*words, "train"]
    elif name != "accel-train" and words[-2:] != ["-m", "accel.train"]:
        return ["python", "-m", "accel.train"]
    short = shutil.which(Path(words[0]).name)
    same = short is not None and Path(words[0]).exists() and Path(short).samefile(words[0])
    return [Path(words[0]).name if same else words[0], *words[1:]]
