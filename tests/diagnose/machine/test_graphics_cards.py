"""GPUs as NVIDIA's management library tells of them, read through ctypes from a library that is built here."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from accel.diagnose.machine import graphics_cards
from accel.diagnose.machine.graphics_cards import GraphicsCard, cards_by_nvml, read_cards

SOURCE = Path(__file__).parents[2] / "rehearsal/native/nvml.cpp"
NULL = GraphicsCard("Null device 0", (9, 0), 4 << 30, 4 << 30, "580.65.06", (5, 16, 5, 16), (1980, 1980), ())


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no g++, which builds the stand-in of NVML")
    built = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(built), str(SOURCE)], check=True)
    return built


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [NULL]),
        ({"DEVICES": "2"}, [NULL, replace(NULL, name="Null device 1")]),
        ({"DEVICES": "0"}, []),
        ({"CAPABILITY": "75", "MEMORY_MB": "64"}, [replace(NULL, capability=(7, 5), total=64 << 20, free=64 << 20)]),
        ({"CLOCK": "900", "SLOWED": "4"}, [replace(NULL, clock=(900, 1980), slowed=("the power limit",))]),
        ({"SLOWED": str(0x20 | 0x40)}, [replace(NULL, slowed=("heat, by the driver", "heat, by the hardware"))]),
        ({"SLOWED": str(0x1 | 0x2 | 0x10 | 0x100)}, [NULL]),  # idle, the user's own clocks, a display: no fault
        ({"LANES": "4"}, [replace(NULL, link=(5, 4, 5, 16))]),
    ],
)
def test_the_library_is_read(
    library: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], expected: list[GraphicsCard]
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"NULLCUDA_{name}", value)
    monkeypatch.setattr(graphics_cards, "LIBRARY", str(library))
    assert list(read_cards()) == expected


def test_without_a_library_or_its_functions_there_is_no_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(graphics_cards, "LIBRARY", str(tmp_path / "none.so"))
    assert read_cards() == ()
    assert cards_by_nvml(ctypes.CDLL(None)) == ()


def test_a_driver_that_lacks_functions_tells_what_it_can(library: Path) -> None:
    class Old:
        """The library without the functions that it got later, and without the reasons."""

        lacks = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetMaxPcieLinkWidth", "nvmlDeviceGetMemoryInfo")
        loaded = ctypes.CDLL(str(library))

        def __getattr__(self, name: str) -> object:
            if name in self.lacks:
                raise AttributeError(name)
            return getattr(self.loaded, name)

    assert cards_by_nvml(Old()) == (replace(NULL, total=None, free=None, link=None),)
