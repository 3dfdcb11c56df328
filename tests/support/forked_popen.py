"""Commands of this Python, run in a fork of the tests, which has imported torch already: processes of their own, without the start.

The fixture `forked_commands` lets `subprocess` and the `spawn` of multiprocessing start them so, and their forks what these start.
"""

from __future__ import annotations

import atexit
import faulthandler
import importlib
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import process, util
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
OTHERS = (tempfile.gettempdir(), str(ROOT / "examples"), str(ROOT / "benchmarks"))
"""Folders whose modules belong to one test."""
PARAMETERS = (
    "args", "executable", "preexec_fn", "close_fds", "pass_fds", "cwd", "env", "startupinfo", "creationflags", "shell", "p2cread",
    "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite", "restore_signals", "gid", "gids", "uid", "umask", "start_new_session",
    "process_group",
)  # fmt: skip
"""Of `Popen._execute_child`, in the order in which `Popen` gives them."""


class Command(NamedTuple):
    """A command of Python: `-m MODULE`, `-c CODE` or a script, and its arguments."""

    kind: str
    what: str
    words: list[str]
    warnings: list[str]
    unbuffered: bool


def read_command(args: Any) -> Command | None:
    """Return a command of this Python; None for another program, or for flags that a fork cannot have."""
    if isinstance(args, str | bytes | os.PathLike) or os.fsdecode(args[0]) != sys.executable:
        return None
    left, filters, unbuffered = [os.fsdecode(word) for word in args[1:]], [], False
    while left and left[0] in ("-u", "-W"):
        if left.pop(0) == "-W":
            filters.append(left.pop(0))
        else:
            unbuffered = True
    if len(left) > 1 and left[0] in ("-m", "-c"):
        return Command(left[0], left[1], left[2:], filters, unbuffered)
    return Command("", left[0], left[1:], filters, unbuffered) if left and not left[0].startswith("-") else None


class ForkedPopen(subprocess.Popen[Any]):
    """`Popen` that starts commands of this Python as forks. They begin as new processes do, but for the modules that are there."""

    def _execute_child(self, *given: Any) -> None:
        start = dict(zip(PARAMETERS, given, strict=True))
        command = None if start["shell"] or start["executable"] else read_command(start["args"])
        if command is None or (not command.kind and not Path(start["cwd"] or "", command.what).is_file()):
            super()._execute_child(*given)  # type: ignore[misc]
            return
        self.pid = fork(command, start)
        self._child_created = True
        ends = [start[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        self._close_pipe_fds(*ends)  # type: ignore[attr-defined]


def fork(command: Command, start: dict[str, Any]) -> int:
    """Run a command in a fork of this process, and return the number of the fork."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: none of them is used in it
        child = os.fork()
    if child == 0:
        run_in_fork(command, start)
    return child


SPAWN: Callable[..., int] = util.spawnv_passfds  # type: ignore[attr-defined]
SPAWNED = {
    "p2cread": -1, "c2pwrite": -1, "errwrite": -1, "cwd": None, "env": None, "preexec_fn": None, "start_new_session": False,
    "process_group": -1,
}  # fmt: skip


def spawn_forked(path: Any, args: Sequence[Any], passed: Sequence[int]) -> int:
    """Stand for what starts the processes of multiprocessing's `spawn`: they read what they are to do from a pipe all the same."""
    command = read_command(list(args))
    if command is not None and "resource_tracker" in command.what:  # it outlives the test
        command = None
    return SPAWN(path, args, passed) if command is None else fork(command, {**SPAWNED, "pass_fds": passed})


def run_in_fork(command: Command, start: dict[str, Any]) -> None:
    """Become what the command would be, and end as it does."""
    code = 1
    try:
        take_files([start["p2cread"], start["c2pwrite"], start["errwrite"]], start["pass_fds"])
        if start["start_new_session"]:
            os.setsid()
        elif start["process_group"] >= 0:
            os.setpgid(0, start["process_group"])
        if start["cwd"] is not None:
            os.chdir(start["cwd"])
        if start["env"] is not None:
            os.environ.clear()
            os.environ.update({os.fsdecode(name): os.fsdecode(value) for name, value in start["env"].items()})
        forget_the_tests(command)
        if start["preexec_fn"] is not None:
            start["preexec_fn"]()
        code = end_code(command)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code & 0xFF)


def take_files(streams: Sequence[int], passed: Sequence[int]) -> None:
    """Take the three streams, and let go of all other files of the tests. Their numbers stay taken, for objects have them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number, file in enumerate(streams):
        if file not in (-1, number):
            os.dup2(file, number)
    for number in [int(name) for name in os.listdir("/proc/self/fd")]:
        if number > 2 and number not in (nothing, *passed):
            with suppress(OSError):  # that of the list itself
                os.fstat(number)
                os.dup2(nothing, number, inheritable=False)


def forget_the_tests(command: Command) -> None:
    """Let signals, streams, warnings, modules, threads and random numbers be those of a process that has just begun."""
    for number in range(1, signal.NSIG):
        with suppress(OSError, ValueError):
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    faulthandler.disable()
    atexit._clear()
    registry: Any = weakref.finalize
    registry._registry.clear()  # the folders of the tests are theirs to remove
    registry._registered_with_atexit = False
    util._finalizer_registry.clear()  # type: ignore[attr-defined]
    process._children.clear()  # type: ignore[attr-defined]
    process.current_process()._config["tempdir"] = None  # type: ignore[attr-defined]
    atexit.register(util._exit_function)  # type: ignore[attr-defined]
    unbuffered = command.unbuffered or bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open_text(1, "strict", unbuffered)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = open_text(2, "backslashreplace", unbuffered)  # type: ignore[misc]
    warnings.resetwarnings()
    for category in (ResourceWarning, ImportWarning, PendingDeprecationWarning, DeprecationWarning):
        warnings.simplefilter("ignore", category)
    warnings.filterwarnings("default", category=DeprecationWarning, module="__main__")
    module: Any = warnings
    module.showwarning, module._showwarnmsg_impl = module._showwarning_orig, show_warning  # pytest has them record
    module._processoptions([*filter(None, os.environ.get("PYTHONWARNINGS", "").split(",")), *command.warnings])
    for name, module in list(sys.modules.items()):
        if name.startswith("tests.") or str(getattr(module, "__file__", None)).startswith(OTHERS):
            del sys.modules[name]
    importlib.invalidate_caches()
    tempfile.tempdir = None  # that of the environment
    random.seed()
    np.random.seed()
    torch.seed()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))


def show_warning(message: Any) -> None:
    """Write a warning as Python does."""
    module: Any = warnings
    print(module._formatwarnmsg(message), end="", file=sys.stderr)


def open_text(number: int, errors: str, unbuffered: bool) -> Any:
    """Return a stream of text to a file that is open; by lines to a terminal, and for errors."""
    return open(number, "w", buffering=1 if number == 2 or os.isatty(number) or unbuffered else -1, errors=errors, closefd=False)


def end_code(command: Command) -> int:
    """Run the command, and return its exit code."""
    code: Any = 0
    try:
        run_command(command)
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException as error:
        while trace := error.__traceback__:
            if trace.tb_frame.f_code.co_filename != __file__:
                break
            error.__traceback__ = trace.tb_next
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    return code or 0


def run_command(command: Command) -> None:
    """Run the module, the code or the script as `__main__`."""
    paths = [path for path in sys.path if path and not path.startswith(OTHERS)]
    named = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    first = {"-m": os.getcwd(), "-c": ""}.get(command.kind, os.path.dirname(os.path.abspath(command.what)))
    sys.path[:] = [first, *named, *paths]
    sys.argv[:] = [command.what if not command.kind else command.kind, *command.words]
    sys.excepthook = sys.__excepthook__  # torch puts the number of the rank before each line, once there was a process group
    sys.orig_argv[:] = [sys.executable, *([command.kind] if command.kind else []), command.what, *command.words]
    main = sys.modules["__main__"] = ModuleType("__main__")
    vars(main)["__builtins__"] = __builtins__
    if command.kind == "-m":
        for name in list(sys.modules):
            if name == command.what:
                del sys.modules[name]
        as_main: Any = runpy
        as_main._run_module_as_main(command.what)
    elif command.kind == "-c":
        exec(compile(command.what, "<string>", "exec"), vars(main))
    else:
        main.__file__ = command.what
        exec(compile(Path(command.what).read_bytes(), command.what, "exec"), vars(main))
