"""The builder and the launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rehearsal.__main__ import SETTINGS, environment, parse
from tests.rehearsal.build import build, defined, digest, rest_source, symbols
from tests.rehearsal.libraries import LIBRARIES, PRELOADED
from tests.rehearsal.stages import Stage, run
from tests.support.waiting import wait_until


def test_what_is_built_lies_there_already() -> None:
    folder = build()
    assert folder.name == digest()
    assert {path.name for path in folder.iterdir()} == {library.name for library in LIBRARIES}


def test_every_function_of_nvidias_runtime_is_there() -> None:
    names = symbols(build() / LIBRARIES[0].name, "-D")
    assert {"cudaMalloc", "cudaGraphLaunch", "cudaMemPoolCreate"} <= names


def test_what_a_source_leaves_out_is_generated(tmp_path: Path) -> None:
    source = rest_source(LIBRARIES[1], ["cublasSgemm_v2", "cublasSetStream_v2"])
    assert 'int cublasSgemm_v2() { nullcuda_note("cublasSgemm_v2"); return 0; }' in source
    assert "int cublasSetStream_v2() { return 0; }" in source
    assert not defined([])


def test_settings_stand_before_the_command() -> None:
    assert parse(["lazy=1", "devices=2", "-m", "pytest", "a=b"]) == ({"lazy": "1", "devices": "2"}, ["-m", "pytest", "a=b"])
    with pytest.raises(SystemExit, match="there is no setting lay; there are devices, "):
        parse(["lay=1", "x"])
    with pytest.raises(SystemExit, match=r"usage: [^\n]*\n  devices"):
        parse(["lazy=1"])


def test_the_environment_has_the_stand_ins_first() -> None:
    found = environment(Path("/somewhere"), dict.fromkeys(SETTINGS, "1"))
    assert found["LD_PRELOAD"].split() == [f"/somewhere/{name}" for name in PRELOADED]
    assert found["NULLCUDA_LAZY"] == "1"
    assert found["PYTHONPATH"].split(os.pathsep)[0] == str(Path(__file__).parents[2])


SECONDS = 1000
HANGS = """
import threading

def wait():
    threading.Event().wait()

def test_a(): pass
{}
"""


def test_a_test_that_hangs_is_ended_and_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_hangs.py").write_text(HANGS.format("def test_b(): wait()"))
    assert run(Stage((str(tmp_path), "-p", "no:cacheprovider"), test_seconds=5)) == "FAILED"
    printed = "".join(capfd.readouterr())
    assert all(text in printed for text in ("crashed while running '", "::test_b'", "in wait", "1 passed")), printed


def test_a_stage_that_hangs_is_ended_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    begun = tmp_path / "begun"

    class Clocked(subprocess.Popen[bytes]):
        """The seconds of a stage are over as soon as it hangs."""

        def wait(self, timeout: float | None = None) -> int:
            if timeout == SECONDS:
                wait_until(begun.exists, "the stage hangs")
                raise subprocess.TimeoutExpired("pytest", SECONDS)
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Clocked)
    (tmp_path / "test_hangs.py").write_text(HANGS.format(f"open({str(begun)!r}, 'w').close(); wait()"))
    assert run(Stage((str(tmp_path), "-p", "no:cacheprovider"), seconds=SECONDS)) == "HUNG"
    printed = "".join(capfd.readouterr())
    assert all(text in printed for text in ("test_hangs.py", "in wait")), printed


def test_torch_is_prepared_where_somebody_looked_for_it_first() -> None:
    script = "import importlib.util as util; util.find_spec('torch'); import torch; print(torch.ones(2).cuda().sum())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "tensor(2., device='cuda:0')"


def test_without_stand_ins_the_tests_say_so() -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LD_", "NULLCUDA"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/rehearsal"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], env=plain)
    assert "tests/rehearsal needs the stand-ins of CUDA's libraries: make rehearsal" in done.stdout
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
