"""The run directory: made when everything else stands, locked while a process writes there, removed if nothing came of it."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from itertools import count
from pathlib import Path
from shutil import rmtree
from time import monotonic, sleep

from accel.checkpoints.retention import FOLDER, finished
from accel.errors import ConfigError, RunDirectoryTaken
from accel.report.record.run_files import LOCK
from accel.system import atomic_files, disk_errors
from accel.system.call_stack import warn_user
from accel.system.shell_quoting import override

__all__ = ["LEASE", "RunLock", "claimed", "create", "free_directory", "remove_created", "was_restarted"]

LEASE = 120.0
"""Seconds for which a file server may hold the lock of a machine that was lost (NFS: 90)."""
claimed: set[Path] = set()
"""Locks that this process holds: the system keeps processes apart, but not the threads of one."""


def was_restarted(attempt: int) -> bool:
    """Return whether torchrun (its `attempt` is above 0) or Slurm started these processes in place of others that are gone."""
    return attempt > 0 or os.environ.get("SLURM_RESTART_COUNT", "0") != "0"


class RunLock:
    """Lock that lets one process at a time write to a run directory. Two would truncate each other's files.

    The system holds the lock for the process alone, whatever it forks, and releases it however the process ends.
    """

    def __init__(self) -> None:
        self.file: int | None = None
        self.patience = 0.0
        """Seconds to wait for another process to release it: `LEASE` if that process may well be dead."""

    def acquire(self, out: Path) -> None:
        """Acquire the lock of the directory `out`.

        Raises:
            Taken: if another process has it, or a thread of this one.
            OSError: if nothing can be written there.
        """
        self.path = out.resolve() / LOCK
        if self.path in claimed:
            raise RunDirectoryTaken(f"out={out}: another run of this process is writing there; name another directory")
        since = monotonic()
        while self.file is None:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                who = os.pread(file, 200, 0).decode(errors="replace").strip() or "another process"
                os.close(file)
                if monotonic() - since > self.patience:
                    raise RunDirectoryTaken(
                        f"out={out}: {who} is writing there; wait until it is done, or name another directory"
                    ) from None
                sleep(0.1)
                continue
            except OSError:  # a file system without locks, where nobody can tell
                pass
            with suppress(FileNotFoundError):
                if os.stat(self.path).st_ino == os.fstat(file).st_ino:  # else who had it has just taken it away
                    self.file = file
                    break
            os.close(file)
        claimed.add(self.path)
        os.ftruncate(self.file, 0)
        os.pwrite(self.file, f"process {os.getpid()} of {socket.gethostname()}".encode(), 0)

    def release(self) -> None:
        """Release the lock, if it was acquired, and remove its file."""
        if self.file is not None:
            file, self.file = self.file, None
            claimed.discard(self.path)
            try:
                self.path.unlink(missing_ok=True)
            except OSError as error:  # it is held by nobody then, and the next run takes it
                warn_user(f"{self.path} could not be removed: {disk_errors.disk_reason(error)}; nothing holds it any more")
            finally:
                with suppress(OSError):  # the system has released the lock by then
                    os.close(file)


def create(out: Path, records: dict[str, str], lock: RunLock, goes_on: bool) -> list[Path]:
    """Make `out`, with the records in it, and return the folders that were not there before, the innermost first.

    Args:
        out: the run directory.
        records: the content of the files that say what the run is, by name.
        lock: acquired here, and released by its owner.
        goes_on: whether the run goes on with what lies there.

    Raises:
        ConfigError: if it cannot be made, or nothing can be written there.
        Taken: if another process writes there, or it holds a run that this one does not go on with.
    """
    new = [folder for folder in (out, *out.parents) if not os.path.exists(folder)]  # Path.exists raises for a name too long
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(out)
        if not goes_on and finished(out / FOLDER):
            raise RunDirectoryTaken(
                f"out={out} holds a run already; go on with it by {override('resume', out)}, or name another directory, such as "
                f"{override('out', free_directory(out))}"
            )
        atomic_files.write(out / "plan.json", b"")
        for name, text in records.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            atomic_files.write(out / name, text.encode())
    except OSError as error:
        remove_created(out, new)
        raise ConfigError(f"out={out}: cannot write there ({disk_errors.disk_reason(error)}); name another directory") from None
    return new


def free_directory(out: Path) -> Path:
    """Return the first of `OUT-2`, `OUT-3` ... that is not there."""
    return next(path for number in count(2) if not (path := out.with_name(f"{out.name}-{number}")).exists())


def remove_created(out: Path, new: list[Path]) -> None:
    """Remove a run directory that `create` made, and the folders above it that hold nothing else."""
    if out not in new:
        return
    rmtree(out, ignore_errors=True)
    with suppress(OSError):  # another run has begun beside it
        for folder in new[1:]:
            folder.rmdir()
