"""States of a machine or of torch that are known to make runs slow, each with the line that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from accel.diagnose.machine.data_disk import BLOCK
from accel.diagnose.machine.speed_variables import is_on
from accel.diagnose.machine.this_machine import Machine
from accel.diagnose.machine.torch_build import faults_of
from accel.report.formatting import size
from accel.report.other_load import BUSY

__all__ = ["CHECKS", "SLOW_DISK", "SMALL_SHARED", "TF32_CAPABILITY", "KnownState", "MachineUse", "known_states"]

SWAPPED = 64 << 20
"""Bytes in the swap from which on a machine counts as short of memory."""
SLOW_DISK = 30e6
"""Bytes a second below which a disk is slow whatever reads from it: a spinning disk makes 100 MB/s of large files."""
SMALL_SHARED = 256 << 20
"""Bytes of /dev/shm below which worker processes may find no room for their batches; Docker gives 64 MB."""
TF32_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class KnownState:
    """Known-bad state.

    Args:
        name: short name, which does not change.
        problem: what is wrong here, in words.
        mend: the line that mends it, to type or to write.
    """

    name: str
    problem: str
    mend: str


@dataclass(frozen=True)
class MachineUse:
    """How a run uses the machine.

    Args:
        device: `"cpu"` or `"cuda"`.
        ranks: processes of the run on this machine.
        threads: of torch, in each.
        worker_processes: that read data, in each.
        reads_pictures: whether its samples are encoded pictures that Pillow decodes.
        needs_compiler: whether a plugin of it compiles.
        needed_bytes: bytes a second that it would read if it did not wait for data; None if they are not known.
        command: whether it was started on the command line, so that overrides are typed.
        plugins: names of those that are on.
    """

    device: str
    ranks: int = 1
    threads: int = 1
    worker_processes: int = 0
    reads_pictures: bool = False
    needs_compiler: bool = False
    needed_bytes: float | None = None
    command: bool = True
    plugins: frozenset[str] = frozenset()

    def setting(self, plugin: str, name: str, value: object) -> str:
        """Return how a setting of a plugin is given, on the command line or in Python."""
        if self.command:
            shown = str(value).lower() if isinstance(value, bool) else value
            return f"'+plugins=[{plugin}]' plugins.{plugin}.{name}={shown}"
        return f"{plugin.capitalize()}({name}={value})"


Check = Callable[[Machine, MachineUse], Iterator[KnownState]]


def known_states(machine: Machine, use: MachineUse) -> list[KnownState]:
    """Return the known-bad states that hold here. A pure function: nothing is measured or asked."""
    return [state for check in CHECKS for state in check(machine, use)]


def _crowded_cores(machine: Machine, use: MachineUse) -> Iterator[KnownState]:
    cores = machine.processor.usable
    if use.device == "cpu" and use.threads * use.ranks > cores:
        ranks = f" in each of {use.ranks} processes" if use.ranks > 1 else ""
        quota = machine.processor.quota
        limit = f"{cores} cores" if quota is None or quota >= machine.processor.cores else f"a quota of {quota:g} cores"
        each = max(1, cores // use.ranks)
        problem = f"torch computes with {use.threads} threads{ranks}, and there are {limit}"
        yield KnownState("crowded_cores", problem, f"OMP_NUM_THREADS={each}, or {use.setting('backend', 'threads', each)}")


def _debugging_switches(machine: Machine, use: MachineUse) -> Iterator[KnownState]:
    if machine.torch.anomaly:
        problem = "anomaly detection is on, which looks at every gradient"
        yield KnownState("anomaly_mode", problem, "torch.autograd.set_detect_anomaly(False)")
    if use.device == "cuda" and is_on(machine.variables, "CUDA_LAUNCH_BLOCKING"):
        problem = "CUDA_LAUNCH_BLOCKING makes the host wait for every kernel"
        yield KnownState("launch_blocking", problem, "unset CUDA_LAUNCH_BLOCKING")
    if is_on(machine.variables, "PYTHONDEVMODE") or machine.variables.get("PYTHONMALLOC", "").endswith("debug"):
        problem = "Python runs in its development mode, or with a debugging allocator"
        yield KnownState("python_dev_mode", problem, "unset PYTHONDEVMODE PYTHONMALLOC")
    if is_on(machine.variables, "PYTORCH_NO_CUDA_MEMORY_CACHING") and use.device == "cuda":
        problem = "torch asks the driver for every tensor's memory"
        yield KnownState("no_memory_cache", problem, "unset PYTORCH_NO_CUDA_MEMORY_CACHING")
    if machine.torch.deterministic:
        problem = "only deterministic algorithms are allowed, of which some are slow"
        mend = "plugins.backend.deterministic=false, or torch.use_deterministic_algorithms(False)"
        yield KnownState("deterministic", problem, mend)


def _float32_products(machine: Machine, use: MachineUse) -> Iterator[KnownState]:
    capable = any(card.capability is not None and card.capability >= TF32_CAPABILITY for card in machine.cards)
    if use.device == "cuda" and capable and machine.torch.products == "highest":
        problem = "float32 products keep 23 bits, without TensorFloat-32"
        yield KnownState("no_tf32", problem, "'+plugins=[backend]'" if use.command else "plugins=['backend']")


def _short_memory(machine: Machine, use: MachineUse) -> Iterator[KnownState]:
    memory = machine.memory
    if memory.own_swapped or (memory.swapped or 0) > SWAPPED:
        amount = size(memory.own_swapped or memory.swapped or 0)
        whose = "of this process" if memory.own_swapped else "of this machine's memory"
        mend = "batch_size=..., smaller, or fewer workers; or end what else needs memory"
        yield KnownState("swap", f"{amount} {whose} lie in the swap, which a disk is slower than", mend)
    if use.worker_processes and memory.shared is not None and memory.shared < SMALL_SHARED:
        problem = f"/dev/shm has {size(memory.shared)} free, through which {use.worker_processes} worker processes send batches"
        yield KnownState("small_shared_memory", problem, "docker run --shm-size=2g, or mount -o remount,size=2g /dev/shm")


def _slow_pictures(machine: Machine, use: MachineUse) -> Iterator[KnownState]:
    if use.reads_pictures and machine.fast_jpeg is False:
        mend = "task.decoder=simplejpeg, or pip install --force-reinstall pillow"
        yield KnownState("slow_jpeg", "Pillow decodes JPEGs without libjpeg-turbo", mend)


def _slow_disk(machine: Machine, use: MachineUse) -> Iterator[KnownState]:
    disk = machine.disk
    if disk is None or disk.cold is None:
        return
    large = disk.sampled >= BLOCK * disk.files  # of small files the disk finds fewer bytes, however fast it is
    too_slow = (large and disk.cold < SLOW_DISK) or (use.needed_bytes is not None and disk.cold < use.needed_bytes)
    if too_slow:
        kind = f" ({disk.kind})" if disk.kind else ""
        wanted = f", and the run would read {size(use.needed_bytes)}/s" if use.needed_bytes else ""
        problem = f"the data lies on a disk{kind} that reads {size(disk.cold)}/s{wanted}"
        mend = "copy it to a local disk, or keep what was read: " + ("'+plugins=[cache]'" if use.command else "plugins=['cache']")
        yield KnownState("slow_disk", problem, mend)


def _faulty_torch(machine: Machine, use: MachineUse) -> Iterator[KnownState]:
    torch = machine.torch
    for fault in faults_of(torch.version, use.plugins):
        newer = f"pip install 'torch>={fault.fixed}'"
        mend = f"{fault.mend}, or {newer}" if fault.mend and use.command else newer
        yield KnownState("torch_fault", f"torch {torch.version}: {fault.problem} ({fault.source})", mend)
    if torch.debug:
        yield KnownState("debug_torch", "torch is a debug build", "pip install --force-reinstall torch")
    if use.device == "cpu" and machine.cards and not torch.cuda:
        names = ", ".join(dict.fromkeys(card.name for card in machine.cards))
        problem = f"the run is on the CPU, for torch was built without CUDA; this machine has {names}"
        yield KnownState("torch_without_cuda", problem, "pip install --force-reinstall torch, from pytorch.org's index for CUDA")
    if use.device == "cpu" and not torch.mkldnn:
        yield KnownState("no_onednn", "torch was built without oneDNN", "pip install --force-reinstall torch")
    if len(torch.openmp) > 1:
        names = " and ".join(torch.openmp)
        problem = f"two libraries of OpenMP are loaded ({names}), whose threads take the cores from each other"
        yield KnownState("two_openmp", problem, "import torch first, or take packages from one source")
    if use.needs_compiler and torch.compiler:
        problem = "there is no C++ compiler, which compile needs"
        yield KnownState("no_compiler", problem, "apt-get install g++")


def _throttled(machine: Machine, use: MachineUse) -> Iterator[KnownState]:
    for number, card in enumerate(machine.cards if use.device == "cuda" else ()):
        if card.slowed:
            mend = "nvidia-smi -q -d PERFORMANCE; look after cooling and power"
            yield KnownState("throttled_gpu", f"GPU {number} is slowed down by {', '.join(card.slowed)}", mend)
        if card.link is not None and card.link[1] < card.link[3]:
            problem = f"GPU {number} has {card.link[1]} PCIe lanes of {card.link[3]}"
            yield KnownState("narrow_link", problem, "put the card into a slot with all lanes")
    if machine.busy is not None and machine.busy >= BUSY:
        problem = f"other processes took {machine.busy:.0f} % of the cores while this was measured"
        yield KnownState("busy_machine", problem, "end them, and measure again")


CHECKS: tuple[Check, ...] = (
    _crowded_cores, _debugging_switches, _float32_products, _short_memory, _slow_pictures, _slow_disk, _faulty_torch, _throttled,
)  # fmt: skip
