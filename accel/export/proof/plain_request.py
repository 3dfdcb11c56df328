"""The request of an evaluation that computes as the weights were saved: in float32 on the CPU, whatever the run trained with."""

from __future__ import annotations

from dataclasses import replace

from accel.engine.request import RunRequest
from accel.engine.select_parts import as_list, make_plugin
from accel.parts import Loader, Prefetch, Source

__all__ = ["plain_request"]

DATA = (Source, Loader, Prefetch)
"""Parts that say what the data is, and who reads it. No other plugin has a say."""


def plain_request(request: RunRequest) -> RunRequest:
    """Return the request of a run on the CPU, with the plugins that read its data and no others."""
    plugins = [plugin for one in as_list("plugins", request.plugins) if isinstance(plugin := make_plugin(one), DATA)]
    return replace(request, settings=replace(request.settings, device="cpu"), plugins=plugins)
