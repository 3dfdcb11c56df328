"""The check that no steady update with a plugin makes the host wait for a CUDA device."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from accel.device.sync_warnings import SyncReporter
from accel.errors import ConfigError
from accel.parts import Part, Run, Transfer, Watch
from accel.schema import plugin_registry
from accel.testing.plugin_runs import PluginFactory, plugin_name
from accel.testing.toy_run import fit_toy

__all__ = ["EPOCHS", "SETTLED", "WaitListener", "WaitWatch", "WarnedWaits", "check_device_waits"]

EPOCHS, SETTLED = 9, 5
"""Epochs of the run, and those after which all graphs are captured, and all that is measured once has been."""


class WaitListener(Protocol):
    """Interface: listens for what makes the host wait for the device."""

    places: Counter[str]
    """The number of waits by place."""

    def start(self) -> None:
        """Count every wait from here on."""

    def stop(self) -> None:
        """Count no more waits."""


class WarnedWaits:
    """The waits of which torch warns (`torch.cuda.set_sync_debug_mode`)."""

    def __init__(self) -> None:
        self.places: Counter[str] = Counter()
        self.reporter = SyncReporter(self._count)

    def start(self) -> None:
        """Count every wait from here on."""
        self.reporter.start()

    def stop(self) -> None:
        """Count no more waits."""
        self.reporter.stop()

    def _count(self, place: str) -> None:
        self.places[place] += 1


@dataclass(eq=False)
class WaitWatch(Watch):
    """Watch that listens from the end of one update to the end of the next, in the midst of an epoch and after `SETTLED` epochs.

    What comes at the end of an epoch, an evaluation say, may wait.

    Args:
        listener: counts the waits.
    """

    listener: WaitListener = field(default_factory=WarnedWaits)
    listened: int = field(default=0, init=False)

    def begin(self, run: Run) -> None:
        self.per_epoch = (run.updates or 0) // run.epochs
        self.settled = SETTLED * self.per_epoch if run.epochs > SETTLED else self.per_epoch // 2

    def after(self, step: int, loss: Tensor) -> None:
        self.listener.stop()
        if self.per_epoch and step > self.settled and step % self.per_epoch:
            self.listened += 1
            self.listener.start()

    def close(self) -> None:
        self.listener.stop()


def check_device_waits(plugin: PluginFactory, listener: WaitListener | None = None) -> str:
    """Check on a CUDA device that no steady update with the plugin makes the host wait.

    The batches come through the plugin `stream`, or through `plugin` if that is a transfer: a copy from pageable memory waits.

    Args:
        plugin: the class, or a function that makes an instance.
        listener: counts the waits; None counts those of which torch warns.

    Returns:
        The sentence with which the run was refused; else nothing.

    Raises:
        AssertionError: with the places that waited.
    """
    instance = plugin()
    copies: list[Part] = [] if isinstance(instance, Transfer) else [plugin_registry.load("stream")()]
    watch = WaitWatch(listener or WarnedWaits())
    try:
        fit_toy([instance, *copies, watch], epochs=EPOCHS, device="cuda")
    except ConfigError as error:
        return str(error)
    finally:
        watch.listener.stop()
    places = watch.listener.places
    assert watch.listened, f"{plugin_name(plugin)}: no update was steady"
    assert not places, (
        f"{plugin_name(plugin)} makes the host wait for the device {places.total()} times in {watch.listened} updates, "
        f"the first at {next(iter(places))}"
    )
    return ""
