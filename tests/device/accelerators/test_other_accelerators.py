"""Accelerators beside CUDA: refused in words where torch has none, and never given float64 or a copy that nobody waits for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import accel
from accel.device.accelerators import float64
from accel.device.accelerators.float64 import has_float64, moved, wide_dtype
from accel.device.accelerators.runtime import sent
from accel.device.cuda.run_device import choose_device
from accel.device.rng import Randomness
from accel.device.step_snapshot import StepSnapshot
from accel.engine.checks.preflight import check_needs
from accel.errors import AccelWarning, ConfigError
from accel.plugins import AMP, DDP, CudaGraph, Pinned
from accel.system.machine import OTHER_ACCELERATORS
from accel.testing import fit_toy
from accel.testing.toy_run import Toy

HERE = [name for name in OTHER_ACCELERATORS if getattr(torch, name).is_available()]


@pytest.mark.parametrize("name", OTHER_ACCELERATORS)
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    if name in HERE:
        pytest.skip("it is there")
    with pytest.raises(ConfigError, match=f"device={name}: torch finds no {name} device here; use device=cpu or device=auto"):
        choose_device(name)


@pytest.mark.parametrize("name", ["mps:0", "xpu:1", "metal", "mpss"])
def test_other_names_get_a_sentence(name: str) -> None:
    with pytest.raises(ConfigError, match="device must be auto, cpu, cuda, cuda:N, mps or xpu, not"):
        fit_toy([], device=name)


def test_plugins_that_need_cuda_name_the_device() -> None:
    with pytest.raises(ConfigError, match="cuda_graph: needs CUDA, and this run is on mps"):
        check_needs([CudaGraph()], "mps")
    with pytest.raises(ConfigError, match=r"amp: dtype=float16 .*needs CUDA, and this run is on xpu"):
        check_needs([AMP(dtype="float16")], "xpu")
    check_needs([AMP(), Pinned()], "mps")


@pytest.mark.parametrize("name", OTHER_ACCELERATORS)
def test_several_processes_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=f"ddp: several processes train on CUDA or on the CPU, and this run is on {name}"):
        check_needs([DDP()], name)
    monkeypatch.setenv("WORLD_SIZE", "1")
    check_needs([DDP()], name)


@pytest.mark.parametrize("measure", ["doctor", "ablate"])
def test_what_is_measured_is_on_a_device_that_is_timed(measure: str) -> None:
    trainer = Toy(device="mps", watch=())
    with pytest.raises(
        ConfigError, match=f"{measure} measures runs on CUDA and on the CPU, and this one is on mps; set device=cpu"
    ):
        getattr(accel, measure)(trainer)


def test_what_holds_float64_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("mps", 0)
    assert not has_float64(device)
    assert wide_dtype(device) is torch.float32
    assert wide_dtype(torch.device("cpu")) is torch.float64
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).double()
    with pytest.raises(ConfigError, match=r"device=mps has no float64, and the model has 0.weight in it; make it float32"):
        moved(net, device, "the model")
    with pytest.raises(ConfigError, match="device=mps has no float64, and a batch has a tensor in it"):
        moved(torch.zeros(2, dtype=torch.float64), device, "a batch")


def test_copies_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that is not may read memory that is gone, or be read before it has arrived."""
    asked: list[Any] = []
    monkeypatch.setattr(Tensor, "to", lambda self, *args, **kwargs: asked.append(kwargs) or self)
    for kind in ("mps", "xpu", "cpu", "cuda"):
        sent(torch.zeros(1), torch.device(kind, 0))
    assert [kwargs["non_blocking"] for kwargs in asked] == [False, False, False, True]


class NoFloat64(TorchDispatchMode):
    """Notices every operator that makes numbers in float64 on the device of the run."""

    def __init__(self) -> None:
        super().__init__()
        self.wide: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) and leaf.dtype is torch.float64 for leaf in tree_leaves(out)):
            self.wide.append(str(func))
        return out


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[NoFloat64]:
    """Let the CPU stand for a device without float64."""
    monkeypatch.setattr(float64, "has_float64", lambda device: False)
    with NoFloat64() as mode:
        yield mode


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize(
    "plugins",
    [
        [], ["adamw", "clip", "ema"], ["lamb", "accumulate", "norms"], ["muon", "finite_guard"], ["schedule_free"], ["lars"],
        ["master_weights", "adamw"], ["parity"], ["average"], ["amp", "oom"], ["plateau"], ["distill"], ["batch_lr", "onecycle"],
    ],
)  # fmt: skip
def test_a_run_makes_no_float64_where_there_is_none(plugins: list[str], narrow: NoFloat64) -> None:
    fit_toy(plugins)
    assert not narrow.wide


def test_the_stand_in_would_notice() -> None:
    with NoFloat64() as mode:
        fit_toy([])
    assert mode.wide, "on a CPU the sums of an evaluation are float64"


@pytest.mark.skipif(not HERE, reason="torch finds neither mps nor xpu here")
@pytest.mark.parametrize("name", HERE)
class TestThere:
    """What only a machine with such a device can show."""

    @pytest.mark.parametrize(
        "plugins",
        [[], ["adamw", "clip", "ema"], ["amp", "accumulate", "lamb"], ["muon", "norms"], ["workers", "prefetch"], ["oom"]],
    )
    def test_trains_as_the_cpu_does(self, name: str, plugins: list[str]) -> None:
        actual, expected = fit_toy(plugins, device=name, dropout=0.0), fit_toy(plugins, device="cpu", dropout=0.0)
        pairs = zip(actual.weights, expected.weights, strict=True)
        assert all(torch.allclose(one.cpu(), other, atol=1e-2) for one, other in pairs)
        assert actual.metrics["loss"] == pytest.approx(expected.metrics["loss"], abs=1e-2)

    def test_resumes_to_the_bit(self, name: str, tmp_path: Path) -> None:
        whole = fit_toy(["adamw", "ema"], device=name)
        fit_toy(["adamw", "ema"], device=name, out=tmp_path, stop=5, checkpoint_every=1)
        rest = fit_toy(["adamw", "ema"], device=name, resume=tmp_path)
        assert all(map(torch.equal, rest.weights, whole.weights))

    def test_random_numbers_come_back(self, name: str) -> None:
        device = choose_device(name)
        randomness, net = Randomness(device), nn.BatchNorm1d(2).to(device)
        randomness.seed(3)
        state, snapshot = randomness.state(), StepSnapshot(net, device)
        snapshot.take()
        first = torch.rand(4, device=device)
        snapshot.restore()
        assert torch.equal(torch.rand(4, device=device), first)
        randomness.restore(state)
        assert torch.equal(torch.rand(4, device=device), first)

    def test_pinned_says_that_it_has_no_effect(self, name: str) -> None:
        with pytest.warns(AccelWarning, match=f"pinned has no effect: copies to {name} are waited for"):
            fit_toy(["pinned"], device=name)
