"""An arm in a process of its own, for plugins that switch something of the whole process: threads, allocator, products."""

from __future__ import annotations

import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from accel.device.cpu.parent_watch import end_with_parent
from accel.diagnose.ablation.arm import Arm
from accel.diagnose.ablation.told_failures import told_failures
from accel.diagnose.ablation.trial_request import trial_request
from accel.errors import ConfigError, Interrupted, TrainingError
from accel.system.stop_signals import StopSignals

__all__ = ["PATIENCE", "ArmProcess", "blocked_interrupts", "serve"]

PATIENCE = 10.0
"""Seconds that a process has to end by itself."""
Answer = TypeVar("Answer")


class ArmProcess:
    """Arm that answers from a process of its own, and waits there while others are timed. It ends as soon as this process does.

    Args:
        make_trainer: makes the user's trainer, in that process.
        names: the plugins of the arm.

    Raises:
        ConfigError: if these plugins cannot make a run, or the trainer cannot be sent there.
    """

    def __init__(self, make_trainer: Callable[[], Any], names: frozenset[str]) -> None:
        context = get_context("spawn")
        self.connection, remote = context.Pipe()
        # no daemon, which may have no workers of its own; it ends as soon as nobody can ask it any more
        self.process = context.Process(target=serve, args=(remote, make_trainer, names, list(sys.path)))
        try:
            with blocked_interrupts():  # inherited: Ctrl-C in a terminal reaches both, and it is this process that acts on it
                self.process.start()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(f"the trainer cannot be sent to a process of its own, which backend needs ({error})") from None
        finally:
            remote.close()  # the other end is the process's alone: if it dies, reading here ends
        try:
            self.answer()
        except BaseException:  # nobody has it yet who would close it
            self.close()
            raise

    def answer(self) -> Any:
        """Return the next answer.

        Raises:
            ConfigError: with the sentence of the other process, or if it died.
        """
        try:
            error, value = self.connection.recv()
        except EOFError:
            self.process.join(PATIENCE)
            raise TrainingError(f"a process that was measured died with code {self.process.exitcode}") from None
        if error:
            raise ConfigError(error)
        return value

    def ask(self, method: str, *args: Any) -> Any:
        """Return what the arm's method returns there, given arguments that can be sent."""
        self.connection.send((method, args))
        return self.answer()

    def call(self, function: Callable[..., Answer], *args: Any) -> Answer:
        """See `Arm.call`. The function, its arguments and what it returns are sent."""
        return self.ask("call", function, *args)  # type: ignore[no-any-return]

    def calibrate(self) -> None:
        """See `Arm.calibrate`."""
        self.ask("calibrate")

    def window(self) -> float:
        """See `Arm.window`."""
        return float(self.ask("window"))

    def close(self) -> None:
        """End the process, in the middle of a window too."""
        self.connection.close()
        self.process.terminate()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def blocked_interrupts() -> Iterator[None]:
    """Hold SIGINT back inside the block, in this thread and for good in processes that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(connection: Connection, make_trainer: Callable[[], Any], names: frozenset[str], path: list[str]) -> None:
    """Answer what is asked of an arm, until the other end is closed.

    Args:
        connection: brings methods, each a name and its arguments, and takes (error, result) back; without an error that is empty.
        make_trainer: makes the user's trainer.
        names: the plugins of the arm.
        path: where modules are found.
    """
    sys.path[:] = path
    end_with_parent()
    try:
        with told_failures():
            trainer = make_trainer()
            serve_arm(connection, trainer, names)
    except (EOFError, BrokenPipeError, Interrupted, KeyboardInterrupt):
        return  # nobody asks any more
    except (ConfigError, TrainingError) as error:
        with suppress(BrokenPipeError):
            connection.send((str(error), None))


def serve_arm(connection: Connection, trainer: Any, names: frozenset[str]) -> None:
    """Answer what is asked of the arm of a trainer; as `serve`, and raise what the run raises."""
    with StopSignals(at_once=True) as signals, closing(Arm(trial_request(trainer._request(), names), signals)) as arm:
        connection.send(("", None))
        while True:
            method, args = connection.recv()
            connection.send(("", getattr(arm, method)(*args)))
