"""The proof that a plugin must bring: `check_plugin(MyPlugin)` runs the suite that every plugin of accel passes."""

from accel.device.host_reads import HostReads
from accel.testing.check_plugin import check_plugin
from accel.testing.toy_run import ToyResult, cheap, fit_toy

__all__ = ["HostReads", "ToyResult", "cheap", "check_plugin", "fit_toy"]
