"""The request of a user's run, changed so that it can be built next to others, writes nothing and leaves the user's model alone."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from dataclasses import replace
from typing import Any

from torch import nn

from accel.engine.request import RunRequest
from accel.engine.select_parts import as_list, make_plugin
from accel.errors import ConfigError
from accel.parts import Folding, Part, Probe, Stop, Watch

__all__ = ["OBSERVERS", "named_plugins", "trial_request"]

OBSERVERS: tuple[type[Part], ...] = (Folding, Probe, Stop, Watch)
"""Parts that change no update. They are in no trial."""


def named_plugins(request: RunRequest) -> dict[str, Part]:
    """Return the plugins of a run that act in its updates, by name. Raise ConfigError for what is no plugin."""
    plugins = [make_plugin(plugin) for plugin in as_list("plugins", request.plugins)]
    return {plugin.name: plugin for plugin in plugins if not isinstance(plugin, OBSERVERS)}


def trial_request(
    request: RunRequest, names: Collection[str], seed: int | None = None, updates: int | None = None
) -> RunRequest:  # fmt: skip
    """Return the request of the same run with some of its plugins, each made anew with its settings.

    Args:
        request: of the user's run.
        names: the plugins that stay.
        seed: of the run; None for the user's.
        updates: its length, which schedules follow; None for the user's.

    Raises:
        ConfigError: for what is no plugin.
    """
    settings = replace(
        request.settings, out=None, resume=None, allow=[], dry_run=False, checkpoint_best=None, checkpoint_every=None,
        evaluate_every=None, evaluate_epochs=None,
    )  # fmt: skip
    if seed is not None:
        settings = replace(settings, seed=seed)
    if updates is not None:
        settings = replace(settings, epochs=None, updates=updates, max_samples=None, max_tokens=None, max_seconds=None)
    plugins = [type(plugin)(**plugin.settings) for name, plugin in named_plugins(request).items() if name in names]

    def model() -> nn.Module:
        """Return a copy of the model: the user's own is not touched."""
        made: Any = request.model()
        try:
            return deepcopy(made)  # type: ignore[no-any-return]
        except Exception as error:
            raise ConfigError(f"the model cannot be copied ({error}); make it in a method model() of a Trainer") from None

    return replace(request, settings=settings, plugins=plugins, watches=(), model=model)
