"""Backend: torch's global switches and the process's, set for one run and then restored.

On a CPU, memory=auto keeps the memory that a step frees for the next one.
Otherwise large tensors are mapped and unmapped in each update, and the system
fills their pages with zeros each time. It is on where glibc allocates and 2 GB
are free for each rank of the machine, within the limits of containers too; it
is given back early if less than a tenth of all memory is free after an update.
Environment variables of the user's (MALLOC_*, GLIBC_TUNABLES) and another
allocator, such as a preloaded jemalloc, stay as they are. At the end glibc has
thresholds of 32 and 64 MB, those that large tensors move it to by itself.
Worker processes do not keep memory.

Helps   CUDA: TensorFloat-32 multiplies float32 matrices up to 8 times faster,
        and cuDNN picks its fastest convolution. A CPU: a small convnet in float32
        ran 1.3 to 1.9 times faster with kept memory (docs/guides/cpu.md).
Hurts   precision: TF32 keeps 10 bits of mantissa in products. Benchmark mode
        tries algorithms anew for every new input shape.
Costs   nothing per step; 22 to 30 % more memory at that convnet's peak.
Source  https://pytorch.org/docs/stable/notes/cuda.html and
        https://pytorch.org/docs/stable/notes/randomness.html; mallopt(3).
Exact   Kept memory and cores change no bit. Denormal numbers that become zero
        do, and so does the number of threads, by which large sums are split.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from accel.device.cpu.core_split import describe_splits, is_worth_a_trial, leanest_near_best, time_splits
from accel.device.cpu.machine_switches import MachineSwitches
from accel.device.cpu.thread_trial import describe_times, fewest_near_best, time_threads
from accel.device.cpu.waiting_threads import user_spin
from accel.errors import TrainingError
from accel.parts import Backend as BackendPart
from accel.parts import Compile
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run, Trial

__all__ = ["CUBLAS", "Backend", "Float32Switches"]

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
PARENTS = (("generic", "all"), ("cuda", "all"), ("mkldnn", "all"))
"""The switches that speak for all others that say nothing themselves, the widest first."""
CUDNN = (("cuda", "conv"), ("cuda", "rnn"))
PRODUCTS = (("cuda", "matmul"), ("mkldnn", "matmul"))


@dataclass(eq=False)
class Backend(BackendPart):
    """Global switches of torch.

    Args:
        cudnn_benchmark: let cuDNN time its algorithms and keep the fastest; off where deterministic is on.
        tf32: use TensorFloat-32 for float32 convolutions, recurrent layers of cuDNN and matrix products on CUDA.
        matmul_precision: precision of float32 matrix products on any device (medium may use bfloat16); null follows tf32.
        deterministic: use only algorithms that give the same bits every time; an operation without one raises.
        threads: CPU threads of one operation; null leaves torch's choice; auto tries numbers of them, beside readers too.
        memory: keep memory that is freed on a CPU for the next update, or give it to the system; auto keeps it where it can.
        cores: all lets each rank run on every core; split gives each rank of a machine its share, neighbours together (Linux).
        flush_denormals: take denormal numbers as zero on a CPU, which computes with them a hundred times more slowly.
    """

    cudnn_benchmark: bool = True
    tf32: bool = True
    matmul_precision: Literal["highest", "high", "medium"] | None = None
    deterministic: bool = False
    threads: Count | Literal["auto"] | None = None
    memory: Literal["keep", "system", "auto"] = "auto"
    cores: Literal["all", "split"] = "all"
    flush_denormals: bool = False

    def apply(self, device: torch.device) -> None:
        self.leaves_allocator = self.memory == "system"  # type: ignore[misc]
        super().apply(device)
        self.saved: dict[str, Any] = {
            "benchmark": torch.backends.cudnn.benchmark,
            "float32": Float32Switches.read(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
            "threads": torch.get_num_threads(),
            "cublas": os.environ.get(CUBLAS),
        }
        if self.deterministic:
            os.environ.setdefault(CUBLAS, ":4096:8")  # read by cuBLAS when CUDA starts
        matmul = self.matmul_precision or ("high" if self.tf32 else "highest")
        self.saved["float32"].change(self.tf32, matmul)
        benchmark = self.cudnn_benchmark and not self.deterministic
        self.trial, self.machine = "", MachineSwitches()
        self.readers: int | None = None
        self.machine.keep_memory(self.memory, device)
        threads = torch.get_num_threads()
        if self.cores == "split":
            threads = min(threads, self.machine.pin())
        self.thread_count = self.threads if isinstance(self.threads, int) else threads
        self._set(benchmark, self.deterministic, self.thread_count)
        if self.flush_denormals:  # last: it tells the threads that there are
            self.machine.flush_denormals(device)

    def explore(self, run: Run, trial: Trial) -> None:
        if self.threads != "auto":
            return
        loader = run.parts.loader
        if run.progress.step:
            self.trial = f"{self.thread_count}, as the run began"
            if self.readers in loader.reader_choices():
                loader.set_readers(self.readers)
            return
        if run.device.type != "cpu" or run.parts.parallel.world_size > 1 or type(run.parts.compile) is not Compile:
            self.trial = f"{self.thread_count}, none tried: that is for one process on a CPU, without compile"
            return
        self.trial = f"{self.thread_count}: there is no choice, or updates are long"
        with suppress(StopIteration, TrainingError):  # no data, or a guard: the run itself meets it, and says so
            if is_worth_a_trial(run.updates, choices := loader.reader_choices()):
                if splits := time_splits(choices, loader.set_readers, trial, run.parts.update):
                    threads, self.readers = leanest_near_best(splits)
                    self.set_threads(threads)
                    self.trial = describe_splits(splits)
                return
            with trial() as windows:
                times = time_threads(lambda: run.parts.update(next(windows)))
            if times:
                self.set_threads(fewest_near_best(times))
                self.trial = describe_times(times)

    def set_threads(self, count: int) -> None:
        """Compute with `count` threads from here on."""
        self.thread_count = count
        if count != torch.get_num_threads():
            torch.set_num_threads(count)

    def state_dict(self) -> dict[str, Any]:
        readers = {} if self.readers is None else {"readers": self.readers}
        return {"threads": self.thread_count} | readers if self.threads == "auto" else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "threads" in state:
            self.set_threads(state["threads"])
            self.readers = state.get("readers")

    def check_machine(self, step: int) -> None:
        super().check_machine(step)
        self.machine.check_memory(step)

    def restore(self) -> None:
        super().restore()
        if hasattr(self, "machine"):
            self.machine.restore()
        if hasattr(self, "saved"):
            saved = self.saved
            self._set(saved["benchmark"], saved["deterministic"], saved["threads"])
            saved["float32"].restore()
            torch.use_deterministic_algorithms(saved["deterministic"], warn_only=saved["warn_only"])
            if saved["cublas"] is None:
                os.environ.pop(CUBLAS, None)

    def plan_notes(self) -> Mapping[str, str]:
        switches = {"threads": self.trial or str(torch.get_num_threads()), "float32 products": torch.get_float32_matmul_precision()}
        return (
            switches | {"threads that wait": user_spin() or "spin, and sleep at once while cores are wanted"} | self.machine.notes
        )

    def ineffective_settings(self, run: Run) -> list[str]:
        return self.machine.unused

    def summary_notes(self) -> list[str]:
        return super().summary_notes() + ([self.machine.given_back] if self.machine.given_back else [])

    def identity(self) -> dict[str, Any]:
        changing = {name: value for name, value in self.settings.items() if name not in ("memory", "cores")}
        if not self.flush_denormals:  # as in checkpoints written before there was one
            del changing["flush_denormals"]
        return changing

    def _set(self, benchmark: bool, deterministic: bool, threads: int) -> None:
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(deterministic)
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)


class Float32Switches(NamedTuple):
    """torch's switches for float32 products as they were found, in both of its interfaces (torch 2.9 to 2.14).

    The older one (`cudnn.allow_tf32`, `get_float32_matmul_precision`) raises where the newer one (`fp32_precision`) says
    something else: a convolution beside a recurrent layer, say. So both are set, and to the same.
    """

    parents: list[str]
    cudnn: list[str]
    products: list[str]
    allow_tf32: bool
    """The older switch of cuDNN."""
    matmul: str
    """The older switch of matrix products."""

    @classmethod
    def read(cls) -> Float32Switches:
        """Return the switches, each as it is set itself, and leave them as they are."""
        parents = []
        for name in PARENTS:
            parents.append(torch._C._get_fp32_precision_getter(*name))
            torch._C._set_fp32_precision_setter(*name, "none")
        cudnn, products = ([torch._C._get_fp32_precision_getter(*name) for name in names] for names in (CUDNN, PRODUCTS))
        try:
            allow_tf32 = torch._C._get_cudnn_allow_tf32()
        except RuntimeError:  # the newer switches say something else, or differ: then that of convolutions is likely to have moved
            allow_tf32 = (cudnn[1] == "tf32") == (cudnn[0] != cudnn[1])
        _set(PRODUCTS, ["none"] * len(PRODUCTS))  # beside others that differ, the older one would not be told
        matmul = torch.get_float32_matmul_precision()
        _set(PRODUCTS, products)
        _set(PARENTS, parents)
        return cls(parents, cudnn, products, allow_tf32, matmul)

    def change(self, tf32: bool, matmul: str) -> None:
        """Set all of them.

        Args:
            tf32: whether cuDNN's convolutions and recurrent layers use TensorFloat-32.
            matmul: precision of matrix products: highest, high or medium.
        """
        cudnn = ["tf32" if tf32 else "ieee"] * len(CUDNN)
        if self.allow_tf32 != tf32 or [torch._C._get_fp32_precision_getter(*name) for name in CUDNN] != cudnn:
            torch._C._set_cudnn_allow_tf32(tf32)
            _set(CUDNN, cudnn)
        torch.set_float32_matmul_precision(matmul)

    def restore(self) -> None:
        """Set all of them as they were found."""
        if Float32Switches.read() == self:  # torch's own default of cuDNN is weaker than the same one set, so it is left alone
            return
        torch._C._set_cudnn_allow_tf32(self.allow_tf32)
        torch.set_float32_matmul_precision(self.matmul)
        _set(CUDNN, self.cudnn)
        _set(PRODUCTS, self.products)
        _set(PARENTS, self.parents)


def _set(names: tuple[tuple[str, str], ...], precisions: list[str]) -> None:
    """Set switches of the newer interface."""
    for name, precision in zip(names, precisions, strict=True):
        torch._C._set_fp32_precision_setter(*name, precision)
