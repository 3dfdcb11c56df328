"""Switches of the process on a CPU, set for one run and put back: memory that is kept, cores, denormal numbers."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Literal

import torch

from accel.device.cpu.denormals import flush_denormals, flushes_denormals
from accel.system.cpu.kept_memory import KEPT_MEMORY, obstacle
from accel.system.cpu.local_ranks import BINDINGS, RANK_CORES, core_share, local_rank, local_ranks, neighbours_first
from accel.system.free_space import free_memory, total_memory

__all__ = ["ENOUGH", "RESERVE", "MachineSwitches"]

ENOUGH = 2 * 2**30
"""Bytes that must be free for each rank of this machine, before memory is kept by itself."""
RESERVE = 0.1
"""Share of all memory that must stay free; below it, what was kept by itself is given back."""
GB = 2**30


class MachineSwitches:
    """Switches that are on, and what to say of them.

    Attributes:
        notes: facts for the plan, by name.
        unused: sentences on settings without effect.
    """

    def __init__(self) -> None:
        self.undo = ExitStack()
        self.notes: dict[str, str] = {}
        self.unused: list[str] = []
        self.given_back = ""
        """Sentence on memory that ran short during the run."""
        self.kept: ExitStack | None = None

    def restore(self) -> None:
        """Put everything back as it was. Called when the run ends, however it ends."""
        self.undo.close()

    def keep_memory(self, setting: Literal["keep", "system", "auto"], device: torch.device) -> None:
        """Keep freed memory in this process, if `setting` and the machine allow it."""
        if setting == "system" or (setting == "auto" and device.type != "cpu"):
            return
        reason = obstacle() or ("" if setting == "keep" else shortage())
        if not reason:
            try:
                KEPT_MEMORY.keep()
            except OSError as error:
                reason = str(error)
        if reason:
            self.notes["freed memory"] = f"given back to the system: {reason}"
            if setting == "keep":
                self.unused.append(f"backend.memory=keep has no effect: {reason}")
            return
        self.notes["freed memory"] = "kept for the next update"
        keeping = self.undo.enter_context(ExitStack())
        keeping.callback(KEPT_MEMORY.release)
        self.kept = keeping if setting == "auto" else None

    def check_memory(self, step: int) -> None:
        """Give kept memory back to the system after update `step`, if `auto` has kept it and less than a tenth of all is free."""
        if self.kept is None or step & (step - 1):  # after updates 1, 2, 4, 8: memory grows ever more slowly
            return
        free, total = free_memory(), total_memory()
        if free is not None and total is not None and free < RESERVE * total:
            self.kept.close()
            self.kept = None
            self.given_back = f"after update {step} kept memory went back to the system, of which less than a tenth was free"

    def pin(self) -> int:
        """Let this rank run on its share of the cores of this machine alone; return how many cores it has then."""
        ranks, before = local_ranks(), sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
        cores = core_share(neighbours_first(before), local_rank(), ranks)
        binding = next((name for name in BINDINGS if os.environ.get(name)), "")
        reason = ""
        if ranks == 1:
            reason = "there is one rank on this machine"
        elif binding:
            reason = f"{binding} is set, and stays as it is"
        elif not cores:
            reason = f"{ranks} ranks have {len(before)} cores" if before else "this system cannot pin a process to cores"
        else:
            try:
                RANK_CORES.move(cores, is_split=True)
            except OSError as error:
                reason = f"the system refuses ({error.strerror})"
        if reason:
            self.unused.append(f"backend.cores=split has no effect: {reason}")
            return len(before) or torch.get_num_threads()
        self.undo.callback(RANK_CORES.move, before, is_split=False)
        self.notes["cores"] = f"{', '.join(map(str, cores))} = share {local_rank() + 1} of {ranks}, neighbours together"
        return len(cores)

    def flush_denormals(self, device: torch.device) -> None:
        """Take denormal numbers as zero."""
        if device.type != "cpu":
            self.unused.append(f"backend.flush_denormals has no effect: the run is on {device.type}")
            return
        before = flushes_denormals()
        if not flush_denormals(True):
            self.unused.append("backend.flush_denormals has no effect: this CPU has no such switch")
            return
        self.undo.callback(flush_denormals, before)
        self.notes["denormal numbers"] = "taken as zero"


def shortage() -> str:
    """Return why there is too little memory to keep what is freed; an empty text if there is enough."""
    free, ranks = free_memory(), local_ranks()
    if free is None:
        return "the system does not tell how much memory is free"
    if free // ranks >= ENOUGH:
        return ""
    each = f" for each of {ranks} ranks" if ranks > 1 else ""
    return f"{free / ranks / GB:.1f} GB are free{each}, and it takes {ENOUGH // GB}"
