"""The ceilings of a machine: computed with as they are meant, kept whole or not at all, and not kept of a busy machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from accel.diagnose.ceilings import kept_ceilings as kept
from accel.diagnose.ceilings import measure_ceilings as measuring
from accel.diagnose.ceilings.kept_ceilings import ceilings_file, kept_ceilings, read_ceilings, write_ceilings
from accel.diagnose.ceilings.machine_ceilings import MachineCeilings
from accel.diagnose.ceilings.roof import limits, roof_seconds
from accel.diagnose.layers.operation import Operation
from accel.errors import AccelWarning

pytestmark = pytest.mark.usefixtures("forked_commands")

CPU = torch.device("cpu")
CEILINGS = MachineCeilings("a CPU", 2, {"float32": 1e11, "bfloat16": 3e11}, {1 << 16: 5e10, 1 << 22: 8e10, 1 << 27: 2e10}, 1e-6)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(measuring, "SECONDS", 0.0)
    monkeypatch.setattr(measuring, "COPIES", {"cpu": (1 << 16, 1 << 19)})
    monkeypatch.setattr(measuring, "SIDES", {"cpu": (32,)})
    return tmp_path


def quiet(monkeypatch: pytest.MonkeyPatch, percent: float | None) -> None:
    monkeypatch.setattr(kept.OtherLoad, "percent", lambda self: percent)


def test_what_was_measured_is_kept_and_added_to(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet(monkeypatch, 0.0)
    state = torch.get_rng_state()
    first, how = kept_ceilings(CPU, ["float32"])
    assert how == "measured now, and kept"
    assert kept_ceilings(CPU, ["float32"]) == (first, "measured before on this machine")
    both, _ = kept_ceilings(CPU, ["float32", "float64"])
    assert both.products["float32"] == first.products["float32"]
    assert both.products.keys() == {"float32", "float64"}
    assert read_ceilings(ceilings_file(CPU)) == both
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("percent", [50.0, None])
def test_a_busy_machine_is_not_remembered(monkeypatch: pytest.MonkeyPatch, percent: float | None) -> None:
    quiet(monkeypatch, percent)
    _, how = kept_ceilings(CPU, ["float32"])
    assert ("not kept" in how) == (percent is not None)
    assert ceilings_file(CPU).exists() == (percent is None)


def test_another_number_of_threads_is_another_machine() -> None:
    before, threads = ceilings_file(CPU), torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert ceilings_file(CPU) != before
    finally:
        torch.set_num_threads(threads)


DAMAGES = {
    "empty": "",
    "cut": '{"schema": 1, "dev',
    "no object": "[1]",
    "another schema": {"schema": 2},
    "a negative speed": {"products": {"float32": -1.0}},
    "not a number": {"call": "fast"},
    "infinite": {"call": float("inf")},
    "no products": {"products": {}},
    "a size that nobody measures": {"copies": {"3": 1e9}},
    "a name too many": {"more": 1},
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_measured_anew(damage: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet(monkeypatch, 0.0)
    kept_ceilings(CPU, ["float32"])
    file, change = ceilings_file(CPU), DAMAGES[damage]
    assert read_ceilings(file) is not None
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, **change}) if isinstance(change, dict) else change)
    assert read_ceilings(file) is None
    assert kept_ceilings(CPU, ["float32"])[1] == "measured now, and kept"


def test_a_folder_that_cannot_be_written_is_a_warning(folder: Path) -> None:
    (folder / "accel").write_text("in the way")
    with pytest.warns(AccelWarning, match="measures the machine anew"):
        assert write_ceilings(ceilings_file(CPU), CEILINGS) == ""


KILLED = """
import os, signal, sys
from pathlib import Path
from accel.diagnose.ceilings.kept_ceilings import write_ceilings
from accel.diagnose.ceilings.machine_ceilings import MachineCeilings
place = sys.argv[2]
def strike(event, args):
    if event == place and "ceilings" in str(args[0]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(strike)
write_ceilings(Path(sys.argv[1]), MachineCeilings("new", 1, {"float32": 2.0}, {1 << 16: 2.0}, 2.0))
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["open", "os.rename"])
def test_a_kill_leaves_the_old_file(place: str, folder: Path) -> None:
    file = folder / "accel" / "ceilings" / "one.json"
    old = replace(CEILINGS, copies={1 << 16: 5e10})
    write_ceilings(file, old)
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(file), place], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    )
    assert child.returncode == -signal.SIGKILL
    assert read_ceilings(file) == old


def test_the_roof_is_the_highest_of_its_limits() -> None:
    compute = Operation("mm", "a", flops=10**9, bytes=1 << 16)
    assert limits(compute, CEILINGS)["compute"] == 0.01
    assert roof_seconds(compute, CEILINGS) == 0.01
    memory = Operation("add", "a", bytes=1 << 27)
    assert roof_seconds(memory, CEILINGS) == pytest.approx((1 << 27) / 2e10)
    assert roof_seconds(Operation("add", "a", bytes=8), CEILINGS) == 1e-6
    assert roof_seconds(Operation("view", "a"), CEILINGS) == 0.0


def test_the_bandwidth_is_that_of_as_much_memory() -> None:
    assert CEILINGS.bandwidth(1 << 20) == 8e10, "a larger copy was faster: the small one was held up by its call"
    assert CEILINGS.bandwidth(1 << 23) == 8e10
    assert CEILINGS.bandwidth(1 << 28) == CEILINGS.memory == 2e10
    assert CEILINGS.ridge("bfloat16") == 15
    assert CEILINGS.product("float16") == 1e11, "float32's, where a type was not measured"
