"""States that are known to make runs slow: each is seen where it is, and none on a good machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accel.diagnose.machine import data_disk
from accel.diagnose.machine.data_disk import DataDisk, data_files, file_system, read_disk
from accel.diagnose.machine.graphics_cards import GraphicsCard, read_cards
from accel.diagnose.machine.host_memory import HostMemory, read_memory
from accel.diagnose.machine.known_states import MachineUse, known_states
from accel.diagnose.machine.speed_variables import speed_variables
from accel.diagnose.machine.this_machine import Machine
from accel.diagnose.machine.torch_build import FAULTS, TorchBuild, faults_of, read_torch
from accel.schema import plugin_registry
from accel.system import free_space
from accel.system.cpu.processor import Processor, cpu_quota, flags_of, read_processor

CARD = GraphicsCard("NVIDIA H200", (9, 0), 150 << 30, 140 << 30, "570.86", (5, 16, 5, 16), (1980, 1980), ())
TORCH = TorchBuild("2.13.0", "13.0", 2, "", ("gomp",), "high", True, True, False, False, False, True, "")
GOOD = Machine(
    Processor("a CPU", 8, 8, None, ("AVX2",)), HostMemory(64 << 30, 60 << 30, 0, 0, 8 << 30), TORCH, {}, (CARD,),
    DataDisk("/data", "ext4", 900e6, 4e9, 64 << 20, 8), True, 1.0,
)  # fmt: skip
CPU, CUDA = MachineUse("cpu", threads=2), MachineUse("cuda", threads=2)
NO_CARD = replace(GOOD, cards=())

STATES: dict[str, tuple[Machine, MachineUse, str]] = {
    "crowded_cores": (NO_CARD, replace(CPU, threads=16), "16 threads, and there are 8 cores"),
    "crowded_cores by ranks": (NO_CARD, replace(CPU, threads=4, ranks=4), "in each of 4 processes"),
    "crowded_cores by quota": (
        replace(NO_CARD, processor=Processor("a CPU", 8, 8, 1.5, ())),
        replace(CPU, threads=8),
        "a quota of 1.5 cores",
    ),
    "anomaly_mode": (replace(GOOD, torch=replace(TORCH, anomaly=True)), CUDA, "anomaly"),
    "launch_blocking": (replace(GOOD, variables={"CUDA_LAUNCH_BLOCKING": "1"}), CUDA, "every kernel"),
    "python_dev_mode": (replace(GOOD, variables={"PYTHONDEVMODE": "1"}), CUDA, "development"),
    "no_memory_cache": (replace(GOOD, variables={"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}), CUDA, "driver"),
    "deterministic": (replace(GOOD, torch=replace(TORCH, deterministic=True)), CUDA, "deterministic"),
    "no_tf32": (replace(GOOD, torch=replace(TORCH, products="highest")), CUDA, "TensorFloat-32"),
    "swap": (replace(GOOD, memory=HostMemory(8 << 30, 1 << 30, 2 << 30, 0, None)), CUDA, "2.1 GB of this machine's memory"),
    "swap of its own": (replace(GOOD, memory=HostMemory(8 << 30, 1 << 30, 0, 5_000_000, None)), CUDA, "5.0 MB of this process"),
    "small_shared_memory": (
        replace(GOOD, memory=HostMemory(8 << 30, 8 << 30, 0, 0, 64 << 20)),
        replace(CUDA, worker_processes=4),
        "67.1 MB free",
    ),
    "slow_jpeg": (replace(GOOD, fast_jpeg=False), replace(CUDA, reads_pictures=True), "libjpeg-turbo"),
    "slow_disk": (replace(GOOD, disk=DataDisk("/data", "nfs4", 12e6, 4e9, 64 << 20, 8)), CUDA, "(nfs4) that reads 12.0 MB/s"),
    "slow_disk for this run": (GOOD, replace(CUDA, needed_bytes=2e9), "would read 2.0 GB/s"),
    "torch_fault": (
        replace(GOOD, torch=replace(TORCH, version="2.11.0+cu130")),
        replace(CUDA, plugins=frozenset({"compile", "recompute", "amp"})),
        "pytorch/issues/175058",
    ),
    "torch_fault of sharded weights": (
        replace(GOOD, torch=replace(TORCH, version="2.12.1")),
        replace(CUDA, plugins=frozenset({"fsdp", "optimizer"})),
        "updates get slower",
    ),
    "debug_torch": (replace(GOOD, torch=replace(TORCH, debug=True)), CUDA, "debug"),
    "torch_without_cuda": (replace(GOOD, torch=replace(TORCH, cuda="")), CPU, "this machine has NVIDIA H200"),
    "no_onednn": (replace(NO_CARD, torch=replace(TORCH, mkldnn=False)), CPU, "oneDNN"),
    "two_openmp": (replace(GOOD, torch=replace(TORCH, openmp=("gomp", "iomp5"))), CUDA, "gomp and iomp5"),
    "no_compiler": (replace(GOOD, torch=replace(TORCH, compiler="none")), replace(CUDA, needs_compiler=True), "compiler"),
    "throttled_gpu": (replace(GOOD, cards=(replace(CARD, slowed=("the power limit",)),)), CUDA, "slowed down by the power limit"),
    "narrow_link": (replace(GOOD, cards=(replace(CARD, link=(5, 4, 5, 16)),)), CUDA, "4 PCIe lanes of 16"),
    "busy_machine": (replace(GOOD, busy=40.0), CUDA, "took 40 %"),
}


@pytest.mark.parametrize("name", STATES)
def test_each_state_is_seen_alone_and_comes_with_what_mends_it(name: str) -> None:
    machine, use, problem = STATES[name]
    (state,) = known_states(machine, use)
    assert state.name == name.split()[0]
    assert problem in state.problem
    assert state.mend


def test_a_good_machine_has_none() -> None:
    assert known_states(GOOD, CUDA) == known_states(NO_CARD, CPU) == []
    small = replace(GOOD, disk=DataDisk("/data", "ext4", 12e6, 4e9, 64 * 3000, 64))
    assert known_states(small, CUDA) == [], "of small files any disk reads few bytes a second"


COMPILED, SHARDED = ["compile", "recompute", "amp"], ["fsdp", "optimizer"]


@pytest.mark.parametrize(
    ("version", "plugins", "count"),
    [
        ("2.9.1", COMPILED, 0), ("2.10.0", COMPILED, 1), ("2.11.0+cu130", COMPILED, 1), ("2.12.0", COMPILED, 0),
        ("2.13.0+cpu", COMPILED, 0), ("2.11.0", ["compile"], 0), ("2.12.0a0+0291f960b6", SHARDED, 1), ("2.12.1", SHARDED, 1),
        ("2.13.0", SHARDED, 0), ("2.11.0", SHARDED, 0), ("2.12.1", ["fsdp", "adamw"], 0),
    ],
)  # fmt: skip
def test_a_fault_of_torch_is_met_in_its_versions_and_with_its_plugins(version: str, plugins: list[str], count: int) -> None:
    assert len(faults_of(version, plugins)) == count


def test_the_faults_are_of_versions_that_accel_runs_with() -> None:
    for fault in FAULTS:
        assert tuple(map(int, fault.fixed.split("."))) > (2, 10), "nobody can have it"
        assert fault.source.startswith("https://github.com/")
        assert fault.plugins <= set(plugin_registry.names())


def test_this_machine_is_read_in_full() -> None:
    processor, memory, torch = read_processor(), read_memory(), read_torch()
    assert processor.name
    assert 1 <= processor.usable <= processor.cores <= processor.installed
    assert memory.total is None or memory.free is None or 0 < memory.free <= memory.total
    assert torch.threads >= 1
    assert torch.openmp
    assert isinstance(read_cards(), tuple)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "400000 100000\n", "pod/cpu.max": "50000 100000\n"}, 0.5),
    ],
)
def test_a_quota_is_the_least_of_all_groups(
    files: dict[str, str], quota: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text("0::/pod\n1:cpu,cpuacct:/\n")
    monkeypatch.setattr(free_space, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(free_space, "OWN_CGROUP", tmp_path / "own")
    assert cpu_quota() == quota


def test_flags_have_one_name_on_every_processor() -> None:
    assert flags_of("flags\t: sse avx2 avx512f avx512_bf16 amx_tile avx_vnni\n") == ("AVX2", "AVX512", "VNNI", "BF16", "AMX")
    assert flags_of("Features\t: fp asimd bf16\n") == ("BF16",)
    assert flags_of("") == ()


def test_variables_that_change_speed_are_listed_and_no_others() -> None:
    assert speed_variables({"OMP_NUM_THREADS": "2", "HOME": "/root", "LD_PRELOAD": "x.so"}) == {
        "LD_PRELOAD": "x.so", "OMP_NUM_THREADS": "2",
    }  # fmt: skip


def test_a_variable_that_torch_sets_by_itself_is_not_told_as_one_of_the_users() -> None:
    own = {"TORCHINDUCTOR_CACHE_DIR": "/tmp/torchinductor_user", "TORCHINDUCTOR_MAX_AUTOTUNE": "1"}
    assert speed_variables(own) == {"TORCHINDUCTOR_MAX_AUTOTUNE": "1"}


class Store:
    def __init__(self, files: list[str]) -> None:
        self.files = files


class Data:
    def __init__(self, store: Any) -> None:
        self.store = store


def test_the_disk_is_measured_on_the_data_itself(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number:03}.jpg").write_bytes(bytes(5000))
    data = Data(Store([str(path) for path in sorted(tmp_path.iterdir())]))
    assert len(data_files(data)) == data_disk.SAMPLED
    disk = read_disk(data)
    assert disk is not None
    assert disk.path == str(tmp_path)
    assert disk.sampled == data_disk.SAMPLED * 5000
    assert disk.warm is not None
    assert disk.warm > 0
    assert disk.cold is None or disk.cold > 0
    assert read_disk(object()) is None


def test_the_longest_mount_point_tells_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"a / ext4 rw 0 0\nb {tmp_path} fuse.sshfs rw 0 0\n")
    monkeypatch.setattr(data_disk, "MOUNTS", mounts)
    assert file_system(str(tmp_path / "data")) == "fuse.sshfs"
    assert file_system("/somewhere") == "ext4"
    assert DataDisk("", "fuse.sshfs", 1.0, 1.0, 1).is_remote
