"""What this machine can, asked without torch, and without initialising CUDA in this process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from accel.system import machine
from accel.system.machine import Need, capabilities_by_nvml, visible_devices

CARDS = ((9, 0), (7, 5), (8, 6))


def management(*cards: tuple[int, int], **failures: int) -> Any:
    """NVIDIA's management library on a machine with these cards, some of whose functions may fail."""

    def count(number: Any) -> int:
        number._obj.value = len(cards)
        return failures.get("count", 0)

    def handle(index: int, device: Any) -> int:
        device._obj.value = index + 1
        return failures.get("handle", 0)

    def capability(device: Any, major: Any, minor: Any) -> int:
        major._obj.value, minor._obj.value = cards[device.value - 1]
        return failures.get("capability", 0)

    return SimpleNamespace(
        nvmlInit_v2=lambda: failures.get("init", 0), nvmlDeviceGetCount_v2=count, nvmlDeviceGetHandleByIndex_v2=handle,
        nvmlDeviceGetCudaComputeCapability=capability,
    )  # fmt: skip


def test_the_cards_are_those_of_the_management_library() -> None:
    assert capabilities_by_nvml(management(*CARDS)) == CARDS
    assert capabilities_by_nvml(management()) == ()


@pytest.mark.parametrize("failing", ["init", "count", "handle", "capability"])
def test_a_library_that_fails_tells_nothing(failing: str) -> None:
    assert capabilities_by_nvml(management(*CARDS, **{failing: 9})) is None


@pytest.mark.parametrize(
    ("visible", "cards"),
    [(None, CARDS), ("", ()), ("-1", ()), ("1", ((7, 5),)), ("2,0", ((8, 6), (9, 0))), ("0,7,1", ((9, 0),)), ("0, 1", CARDS[:2]),
     ("GPU-8d6f", CARDS), ("MIG-2a", CARDS), ("none", ())],
)  # fmt: skip
def test_cuda_visible_devices_is_read_as_cuda_reads_it(visible: str | None, cards: Any) -> None:
    assert visible_devices(CARDS, visible) == cards


def test_the_variable_may_change_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    monkeypatch.setattr(machine, "_gpu_capabilities", lambda visible: asked.append(visible) or ())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert not machine.has_cuda()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert machine.resolve_device("auto") == "cpu"
    assert asked == ["1", None]


@pytest.mark.parametrize(("cards", "reason"), [(((7, 5),), True), (((8, 0),), False), (CARDS, True), ((), False)])
def test_bfloat16_needs_capability_8(cards: Any, reason: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpu_capabilities", lambda: cards)
    need = Need("bfloat16", {"dtype": "bfloat16"})
    text = need.unmet_reason({"dtype": "bfloat16"}, "cuda")
    assert ("dtype=float16" in (text or "")) == reason
    assert (text is None) != reason
    assert need.unmet_reason({"dtype": "float16"}, "cuda") is None


@pytest.mark.parametrize(
    ("cpuinfo", "lacks"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n", False),
        ("processor\t: 0\nflags\t\t: fpu amx_bf16 amx_tile\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd\n", False),
    ],
)
def test_an_x86_cpu_says_by_its_flags_whether_it_multiplies_bfloat16(cpuinfo: str, lacks: bool) -> None:
    assert machine._x86_without_bf16(cpuinfo) is lacks
