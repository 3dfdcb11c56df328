"""The process that makes an engine's files: by another interpreter, and what happens when it fails, crashes, hangs or is killed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

import accel
from accel.errors import ConfigError
from accel.export.all_targets import TARGETS, make_target, target_class
from accel.export.exporter import Exporter
from accel.export.runtime.build_process import build_apart
from accel.export.runtime.failure_reason import failure_answer
from accel.export.targets.converted_target import PLACE, ConvertedTarget
from tests.support.exported_runs import skip_missing

pytestmark = pytest.mark.slow
CONVERTED = [name for name in TARGETS if issubclass(target_class(name), ConvertedTarget)]
ENGINE = {
    "crashes": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    "hangs": "import time\ntime.sleep(1e6)",
    "ends": "raise SystemExit('no licence')",
    "fails": "raise RuntimeError('operator hum is unknown')",
    "is not there": "raise ModuleNotFoundError('', name='cogs')",
    "fills the disk": "raise OSError(28, 'No space left on device')",
}
"""What the package of an engine does when it is imported."""
SENTENCES = {
    "crashes": r"target=ort: the model cannot be exported: the process that ran it ended with signal 11",
    "hangs": r"target=ort: the model cannot be exported: it has not answered for 0.5 seconds; raise time_limit",
    "ends": r"target=ort: the model cannot be exported: the process that ran it ended with code 1: no licence",
    "fails": r"target=ort: the model cannot be exported: RuntimeError: operator hum is unknown",
    "is not there": r"target=ort needs the package cogs, which is not there: pip install 'accel-train\[export-onnx\]' with python=",
    "fills the disk": r"cannot be written \(the disk is full\); make room",
}


def interpreter(folder: Path, engine: str) -> str:
    """Write a program that is this interpreter, but for the package onnxruntime, which is some lines; return its path."""
    (folder / "onnxruntime.py").write_text(engine)
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("what", ENGINE)
def test_an_engine_that_does_not_build_is_a_sentence(what: str, tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "files"
    source.mkdir()
    folder.mkdir()
    python = interpreter(tmp_path, ENGINE[what])
    if what == "fills the disk":
        with pytest.raises(OSError, match="No space") as caught:
            build_apart("ort", {}, source, folder, python, 60)
        assert caught.value.errno == errno.ENOSPC
        return
    with pytest.raises(ConfigError, match=SENTENCES[what]):
        build_apart("ort", {}, source, folder, python, 0.5 if what == "hangs" else 60)


def test_nothing_is_left_of_an_export_whose_engine_failed(exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> None:
    skip_missing("ort")
    what = "fills the disk"
    proof = replace(exporter.settings.proof, python=interpreter(tmp_path_factory.mktemp("engine"), ENGINE[what]))
    exporter.settings = replace(exporter.settings, proof=proof)
    with pytest.raises(ConfigError, match=SENTENCES[what]):
        exporter.export("ort")
    assert list((exporter.run / "export").iterdir()) == []


def test_another_interpreter_has_the_engine(exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> None:
    skip_missing("ort")
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = str(folder / "bin/python")
    with pytest.raises(ConfigError, match="ended with code 1: ModuleNotFoundError: No module named 'numpy'"):
        build_apart("ort", {}, folder, folder, python, 60)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "here.pth").write_text(str(Path(pytest.__file__).parents[1]))
    exporter.settings = replace(exporter.settings, proof=replace(exporter.settings.proof, python=python))
    assert exporter.export("ort").status == "holds"


def test_the_builder_ends_with_the_one_who_asked(tmp_path: Path) -> None:
    python = interpreter(tmp_path, f"import os\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n{ENGINE['hangs']}")
    program = (
        "from pathlib import Path\nfrom accel.export.runtime.build_process import build_apart\n"
        f"build_apart('ort', {{}}, Path({str(tmp_path)!r}), Path({str(tmp_path)!r}), {python!r}, 600)"
    )
    asking = subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(Path(accel.__file__).parents[1])}
    )
    builder = int(when(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    asking.kill()
    asking.wait()
    assert when(lambda: not runs(builder))


def when(state: Callable[[], Any]) -> Any:
    """Return a state when it has come. It is a minute at most."""
    ends = time.monotonic() + 60
    while not (value := state()) and time.monotonic() < ends:
        time.sleep(0.02)
    return value


def runs(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("name", CONVERTED)
def test_what_the_process_is_given_can_be_written_down(name: str) -> None:
    """The settings of a target cross as JSON."""
    target = make_target(name, {"python": "elsewhere", "time_limit": 3.0})
    assert isinstance(target, ConvertedTarget)
    assert (target.python, target.time_limit) == ("elsewhere", 3.0)
    settings = {one.name: getattr(target, one.name) for one in fields(target) if one.name not in PLACE}
    assert make_target(name, json.loads(json.dumps(settings))) == make_target(name)


def test_an_error_in_one_sentence() -> None:
    error = RuntimeError(
        'operator hum is unknown\nWhile executing %hum\nFile "/home/me/net.py", line 7, in forward\n    x = hum(x)\n'
    )
    assert failure_answer(error) == (
        "failed", "RuntimeError: operator hum is unknown (forward in /home/me/net.py, line 7: x = hum(x))"
    )  # fmt: skip
    assert failure_answer(FileNotFoundError(2, "No such file", "g++"))[0] == "failed", "it is not the disk"
