"""What a submitted job does on each of its nodes: one torchrun, which starts and restarts the ranks of that node.

Two signals end it early. submitit's own (SIGUSR2 by default) comes before the time limit, and on some clusters before a preemption:
on the first node submitit then calls `checkpoint`, and has Slurm begin the job anew. SIGTERM comes before Slurm ends a job,
or begins it anew by itself. The ranks save and end at SIGTERM, so torchrun gets that for both, and a job that is begun anew goes on
from there. What stands here imports neither torch nor Hydra.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from submitit import JobEnvironment
from submitit.helpers import DelayedSubmission

from accel.errors import TrainingError

__all__ = ["AFTERWARDS", "RESTARTS", "Node"]

RESTARTS = 3
"""How often torchrun begins ranks anew that were killed, within one attempt of the job."""
AFTERWARDS = 10.0
"""Seconds after SIGTERM in which submitit's signal may still come and have the job begun anew; Slurm's SIGKILL comes after 30."""


@dataclass(eq=False)
class Node:
    """Called on each node; submitit pickles it, so it holds texts and numbers only.

    Args:
        words: the arguments of `accel.train`.
        again: the same for a later attempt that finds a checkpoint in `home`.
        home: the run directory; empty where nothing is written.
        cwd: the directory that paths begin in.
        ranks: processes of each node.
        patience: seconds that the ranks have to save.
        attempt: how often submitit had the job begun anew.
    """

    words: list[str]
    again: list[str]
    home: str
    cwd: str
    ranks: int
    patience: int
    attempt: int = 0
    torchrun: subprocess.Popen[bytes] | None = field(default=None, init=False)
    until: float = field(default=0.0, init=False)
    """How long to stay after the ranks have been told to end."""
    told: bool = field(default=False, init=False)
    """Whether torchrun has been told: a second time would cut its waiting for the ranks short, a third time end it."""

    def __call__(self) -> None:
        """Returns when the run is done. Raises TrainingError where it is not, which submitit keeps as the job's result."""
        here = JobEnvironment()
        preempt = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        signal.signal(signal.SIGTERM, self.hear)
        if here.global_rank > 0:  # submitit listens on the first node alone
            signal.signal(preempt, self.hear)
        command = self.command(here)
        print(f"accel: on {here.hostname}: {shlex.join(command)}", flush=True)
        env = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(self.patience), **os.environ}
        # Slurm signals every process of a job: what is blocked here, torchrun and the ranks inherit, and do not die of
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [preempt])
        try:
            self.torchrun = subprocess.Popen(command, cwd=self.cwd, env=env)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            if self.until:  # it came before torchrun was there
                self.tell()
            self.ended()
        finally:
            code = self.stop()
        while time.monotonic() < self.until:
            time.sleep(0.1)
        if code:
            sys.tracebacklimit = 0  # what went wrong, the ranks have said
            told = "stopped from outside" if self.until else f"torchrun ended with exit code {code}"
            raise TrainingError(f"{told}; submit the same with out={self.home or 'DIR'} and it goes on from its last checkpoint")

    def command(self, here: JobEnvironment) -> list[str]:
        """torchrun's command line on this node."""
        apart = ["--standalone"]
        if here.num_nodes > 1:
            number = int(here.raw_job_id)
            # below the ports that systems hand out; two jobs may share a first node
            meeting = f"{here.hostnames[0]}:{20000 + number % 10000}"
            apart = [
                f"--nnodes={here.num_nodes}", f"--rdzv-id={number}", "--rdzv-backend=c10d", f"--rdzv-endpoint={meeting}",
                f"--rdzv-conf=is_host={int(here.node == 0)}",
            ]  # fmt: skip
        begun = max(self.attempt, int(os.environ.get("SLURM_RESTART_COUNT") or 0))
        saved = self.home and any(Path(self.cwd, self.home, "checkpoints").glob("*.json"))
        program = [sys.executable, "-m", "torch.distributed.run", *apart, f"--nproc-per-node={self.ranks}"]
        return [*program, f"--max-restarts={RESTARTS}", "-m", "accel.train", *(self.again if begun and saved else self.words)]

    def checkpoint(self) -> DelayedSubmission:
        """Lets the ranks save and end; returns what submitit is to begin anew. It is called inside a signal handler."""
        self.stop()
        return DelayedSubmission(replace(self, attempt=self.attempt + 1))

    def hear(self, number: int, frame: FrameType | None) -> None:
        """A signal has come that ends this node's part of the job; what follows it is the cluster's to say."""
        # where both come, in either order, or SIGTERM a second time, nothing is left to wait for
        stay = 0.0 if self.until else AFTERWARDS if number == signal.SIGTERM else self.patience
        self.until = time.monotonic() + stay
        if number == signal.SIGTERM and os.environ.get("SUBMITIT_EXECUTOR") == "slurm" and self.torchrun is not None:
            self.told = True  # by Slurm, like every process of the job
        self.tell()

    def tell(self) -> None:
        """Has torchrun end its ranks."""
        if self.torchrun is not None and not self.told:
            self.told = True
            self.torchrun.terminate()

    def stop(self) -> int:
        """Has torchrun end its ranks, and waits for it; returns its exit code."""
        self.tell()
        if self.torchrun is None:
            return 0
        self.ended()
        return self.torchrun.wait()

    def ended(self) -> None:
        """Waits for the end of torchrun and leaves its exit code where it is: a handler may wait inside this wait."""
        assert self.torchrun is not None
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self.torchrun.pid, os.WEXITED | os.WNOWAIT)
