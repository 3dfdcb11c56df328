"""Commands that measure or draw end by a signal as they should: with their exit code and a sentence, and nothing left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from accel.__main__ import main
from accel.cli.advise import advise_console
from accel.cli.doctor import doctor_console
from accel.cli.exit_codes import exit_code
from accel.diagnose.ablation import arm_process, study
from accel.report.html import write_report
from accel.system import atomic_files
from accel.testing import fit_toy
from tests.support.drill_length import LONG
from tests.support.forked_process import run_forked
from tests.support.session_members import living_members
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("forked_commands")

Strike = Callable[[], None]
COMMANDS = {
    "doctor": ["doctor", "--seconds", "2", "device=cpu", "+plugins=[workers]", "plugins.workers.count=1"],
    "advise": ["advise", "--seconds", "1", "device=cpu"],
    "ablate": ["ablate", "--seeds", "0", "device=cpu", "+plugins=[clip,workers]", "plugins.workers.count=1"],
    "report": ["report", "run"],
    "report, half written": ["report", "run"],
}
EXIT_CODES = {signal.SIGTERM: 75, signal.SIGINT: 75, signal.SIGKILL: -9}


def strike_at(name: str, patch: pytest.MonkeyPatch, strike: Strike) -> None:
    """Strike in the middle of a command: where it has said what it measures, or is about to write."""

    def before(place: Any, attribute: str, is_due: Callable[..., bool] = lambda *args: True) -> None:
        original = getattr(place, attribute)

        def struck(*args: Any, **kwargs: Any) -> Any:
            if is_due(*args):
                strike()
            return original(*args, **kwargs)

        patch.setattr(place, attribute, struck)

    match name:
        case "doctor":
            before(doctor_console, "say", lambda line, *_: "the loader alone" in line)
        case "advise":
            before(doctor_console, "say", lambda line, *_: "ceilings" in line)
        case "ablate":
            before(study.Study, "speed")
        case "report":
            before(write_report, "run_page")
        case _:
            before(atomic_files, "point", lambda place: place.endswith(".written"))


def ended(words: list[str], folder: Path, prepare: Callable[[pytest.MonkeyPatch], None]) -> tuple[int, str, set[str]]:
    """Return the exit code of a command, its errors and the files that it leaves, once nothing that it started runs any more."""
    before = {str(path) for path in folder.rglob("*")}

    def command() -> None:
        os.setsid()
        (folder / "pid").write_text(str(os.getpid()))
        os.chdir(folder)
        for variable in ("TMPDIR", "HOME", "XDG_CACHE_HOME"):
            os.environ[variable] = str(folder)
        with pytest.MonkeyPatch.context() as patch:
            prepare(patch)
            os._exit(exit_code(lambda: main(words)))

    end = run_forked(command)
    session = int((folder / "pid").read_text())
    (folder / "pid").unlink()
    wait_until(lambda: not living_members(session), lambda: f"the end of {living_members(session)}")
    return end.code, end.stderr, {str(path.relative_to(folder)) for path in folder.rglob("*") if str(path) not in before}


@pytest.mark.slow
@pytest.mark.parametrize("number", EXIT_CODES if LONG else [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_struck_leaves_nothing(name: str, number: signal.Signals, tmp_path: Path) -> None:
    fit_toy(["metrics"], out=tmp_path / "run", epochs=1)
    struck = tmp_path / "struck"

    def strike() -> None:
        if not struck.exists():
            struck.touch()
            os.kill(os.getpid(), number)

    code, errors, left = ended(COMMANDS[name], tmp_path, lambda patch: strike_at(name, patch, strike))
    assert struck.exists(), "the command came to the place"
    assert code == EXIT_CODES[number], errors
    assert "Traceback" not in errors
    assert (f"accel: stopped by {number.name}\n" in errors) == (number is not signal.SIGKILL)
    torn = {"run/.report.html.tmp"} if name == "report, half written" and number is signal.SIGKILL else set()
    assert left - {"struck"} == torn, "a page that nothing could take away is replaced by the next"


@pytest.mark.slow  # new processes import torch
@pytest.mark.parametrize("number", EXIT_CODES if LONG else [signal.SIGKILL])
def test_processes_that_measure_end_with_the_command(number: signal.Signals, tmp_path: Path) -> None:
    words = ["ablate", "--seeds", "0", "device=cpu", "+plugins=[backend]", "plugins.backend.threads=1"]

    def strike_both(patch: pytest.MonkeyPatch) -> None:
        """Strike while another process calibrates: Ctrl-C in a terminal reaches both of them."""
        ask = arm_process.ArmProcess.ask

        def struck(self: arm_process.ArmProcess, method: str, *args: Any) -> Any:
            self.connection.send((method, args))
            if number is signal.SIGINT:
                os.kill(self.process.pid or 0, number)
            os.kill(os.getpid(), number)
            return self.answer()

        assert ask is not struck
        patch.setattr(arm_process.ArmProcess, "ask", struck)

    code, errors, left = ended(words, tmp_path, strike_both)
    assert (code, left) == (EXIT_CODES[number], set()), errors
    assert "Traceback" not in errors


def test_the_line_on_a_terminal_goes_with_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_console.sys.stderr, "isatty", lambda: True, raising=False)
    with suppress(KeyboardInterrupt), advise_console.announced() as announce:
        announce("the machine")
        raise KeyboardInterrupt
    assert capsys.readouterr().err.endswith("measuring: the machine\r\r\x1b[K\r")
