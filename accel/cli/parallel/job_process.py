"""One job of several, in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import mkstemp
from typing import Any

from accel.cli.exit_codes import FAILED, INTERRUPTED
from accel.cli.job import Job
from accel.cli.parallel.machine_shares import MachineShare, take_share
from accel.system.stop_signals import STOP_SIGNALS, StopSignals

__all__ = ["JobProcess", "start_method"]


class JobProcess:
    """Job that runs in a process of its own, in a session of its own: signals reach it through the one that started it alone.

    Args:
        job: the job. It gets the outcome.
        number: of the job, from 0.
        share: what it has of this machine.
        log_name: file of what it has printed, in its run directory. Until its end that is `NUMBER.log` beside the directory. A job
            that has none prints into a file that is gone afterwards.
    """

    def __init__(self, job: Job, number: int, share: MachineShare, log_name: str) -> None:
        self.job, self.number, self.share = job, number, share
        self.log_name, (self.log, self.is_kept) = log_name, _log_file(job.out)
        self.is_told = False
        """Whether it has been asked to stop."""
        context: Any = get_context(start_method())
        self.receiver, sender = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(job, share, str(self.log), sender))
        # until the job listens itself: what a fork copies of this process's handlers would end it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            sender.close()

    @property
    def has_ended(self) -> bool:
        """Whether its outcome is there, or its process has ended without one. Processes of its own may live longer."""
        return self.process.exitcode is not None or self.receiver.poll()

    def stop(self) -> None:
        """Ask the job, once, to save after its update, and to end."""
        if not self.is_told and self.process.exitcode is None:
            self.is_told = True
            self.process.terminate()

    def kill(self) -> None:
        """End the job and its own processes at once."""
        if self.process.exitcode is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has not begun, or has just ended
                self.process.kill()
        self.process.join()
        self.job.code, self.job.error = INTERRUPTED, "interrupted"
        self.close()

    def end(self) -> None:
        """Take over the outcome of the job, whose process has ended."""
        from accel.data.loaders.worker import exit_cause

        try:
            if not self.receiver.poll():
                raise EOFError
            self.job.code, self.job.error, self.job.summary, self.job.out = self.receiver.recv()
        except (EOFError, OSError):
            self.process.join()
            self.job.code, self.job.error = FAILED, f"its process {exit_cause(self.process.exitcode or 0)}"
        self.process.join()
        self.close()

    def close(self) -> None:
        """Free what belongs to the process, and put what it printed into the run directory, if there is one."""
        self.receiver.close()
        self.process.close()
        if self.is_kept and self.job.out is not None and self.job.out.is_dir():
            self.log = _append(self.log, self.job.out / self.log_name)

    def take_printed(self) -> str:
        """Return all that the job has printed, and remove the file if it is none that stays."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        if not self.is_kept:
            self.log.unlink(missing_ok=True)
        return text

    def last_line(self) -> str:
        """Return the last line that the job has printed; empty if it has printed none."""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1000))
            lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def start_method() -> str:
    """Return how a job's process starts: as a copy of this one, which has imported torch, where that is sound."""
    torch = sys.modules.get("torch")
    return "fork" if sys.platform == "linux" and not (torch and torch.cuda.is_initialized()) else "spawn"


def _log_file(out: Path | None) -> tuple[Path, bool]:
    """Return the file of what a job prints while it runs, and whether it stays."""
    if out is not None:
        path = out.with_name(f"{out.name}.log")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("wb").close()
            return path, True
        except OSError:  # the job says so itself
            pass
    descriptor, path_text = mkstemp(prefix="accel-job-", suffix=".log")
    os.close(descriptor)
    return Path(path_text), False


def _append(log: Path, target: Path) -> Path:
    """Append a file to another, such as that of the run before a resume, and return where its text is."""
    try:
        if not target.exists():
            return log.replace(target)
        with target.open("ab") as file:
            file.write(log.read_bytes())
        log.unlink()
        return target
    except OSError:
        return log


def _work(job: Job, share: MachineShare, log: str, sender: Connection) -> None:
    """Run the job, and send its outcome. The work of the process."""
    os.setsid()
    for descriptor in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = (open(descriptor, "w", buffering=1, closefd=False) for descriptor in (1, 2))  # noqa: SIM115
    with StopSignals() as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        _stop_with_parent()
        take_share(share)
        job.run()
        signals.requested = None  # the job has heeded it
    sys.stdout.flush()
    sys.stderr.flush()
    sender.send((job.code, job.error, job.summary, job.out))


def _stop_with_parent() -> None:
    """Let the job save and end when the process that started it is gone, killed say."""
    from accel.device.cuda.device_threads import DeviceThread

    def wait() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    DeviceThread(target=wait, daemon=True).start()
