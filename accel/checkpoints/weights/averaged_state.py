"""The weights that an evaluation would see, computed from the state in a checkpoint."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel.checkpoints.snapshot import tensors
from accel.checkpoints.state import resize_buffers
from accel.checkpoints.weights.evaluated_weights import evaluated_weights
from accel.checkpoints.weights.weight_names import with_names_of
from accel.compress.distillation.added_parameters import add_saved
from accel.data.batches.make_batches import make_batches
from accel.errors import ConfigError
from accel.parts import Average, Optim, Part, Parts, Precision, Run
from accel.parts.shared.trained_parameters import restore_trained
from accel.schema import plugin_registry

__all__ = ["FIX", "KINDS", "LONG", "SavedRun", "averaged_state"]

KINDS: dict[str, tuple[type[Part], tuple[str, ...]]] = {
    "precision": (Precision, ("publish", "unrounded")), "optim": (Optim, ("weights",)), "average": (Average, ("weights",)),
}  # fmt: skip
"""Parts that decide which weights are evaluated, and the methods by which they do."""
LONG = 10**6
"""Updates of a run whose length is not known: parts ask for it, and its state does not depend on it."""
FIX = "name a .safetensors file of the run"


class SavedRun(Run):
    """A run that only has weights, and parts that decide which are evaluated."""

    def batch_norm_statistics(self, batches: int | None, epoch: int, step: int) -> dict[str, Tensor]:
        """Raise ConfigError: there is no training data to estimate them on."""
        raise ConfigError(
            "the statistics of BatchNorm for its average were to be estimated on training data, in an evaluation that never came; "
            "take a checkpoint after an evaluation"
        )


def averaged_state(model: nn.Module, state: dict[str, Any], identity: dict[str, Any]) -> dict[str, Any]:
    """Return the state of the model as an evaluation at the checkpoint saw it: averaged, and of masters, as its plugins had it.

    Args:
        model: a module of the run's make, which is left as it is.
        state: the state in the checkpoint, whole.
        identity: what the run computed, from its manifest: the settings of its plugins.

    Raises:
        ConfigError: for a plugin that is not installed.
        Exception: whatever the parts raise for a state that is not theirs.
    """
    chosen = _deciding_parts(identity.get("plugins", {}), state["parts"])
    if identity.get("objectives") and (chosen or _names_deciding(identity["objectives"])):
        raise ConfigError(f"the run had several optimisers, and an average of weights; {FIX}")
    if not chosen:
        return dict(state["model"])
    run = SavedRun(Parts(**chosen), deepcopy(model), _no_loss, torch.device("cpu"), seed=0, epochs=1, batch_size=1)  # type: ignore[arg-type]
    twin = run.unwrapped_model.cpu()
    add_saved(twin, state["parts"].values())
    if not any(param.requires_grad for param in twin.parameters()):  # a model that is only to predict
        twin.requires_grad_(True)
    run.updates = max(LONG, state["progress"]["step"])
    run.train = make_batches(TensorDataset(torch.zeros(1)), 1)
    resize_buffers(twin, state["model"], list(with_names_of(twin, dict.fromkeys(state.get("resized", [])))))
    parts: dict[str, Any] = with_names_of(twin, state["parts"])
    for name in KINDS:
        getattr(run.parts, name).setup(run)
    twin.load_state_dict(with_names_of(twin, state["model"]))
    restore_trained(run, state.get("trained"), [getattr(run.parts, name) for name in KINDS])
    for part in chosen.values():
        part.load_state_dict(parts[part.name])
        if _places(part.state_dict()) != _places(parts[part.name]):
            raise ValueError(f"{part.name} had other parameters than the model has, or others that were trained")
    with evaluated_weights(run) as weights:
        return {name: value.clone() if isinstance(value, Tensor) else value for name, value in weights.items()}


def _deciding_parts(plugins: dict[str, Any], saved: dict[str, Any]) -> dict[str, Part]:
    """Return the plugins of a run that decide which weights are evaluated, by the name of their part.

    Args:
        plugins: their settings, by name.
        saved: the state of each part, by name.

    Raises:
        ConfigError: for a plugin that is not installed, and may be one of them.
    """
    installed, parts = plugin_registry.targets(), dict[str, Part]()
    for name, settings in plugins.items():
        if name not in installed and saved.get(name):
            raise ConfigError(
                f"the run had the plugin {name}, which is not installed here, and may have averaged the weights; {FIX}"
            )
        kind = plugin_registry.load(name) if name in installed else Part
        if role := _role(kind):
            own = {field.name for field in fields(kind) if field.init}
            parts[role] = kind(**{key: value for key, value in settings.items() if key in own})
    return parts


def _role(kind: type[Part]) -> str:
    """Return the name of the part by which a plugin decides which weights are evaluated; empty if it does not."""
    for role, (base, methods) in KINDS.items():
        if issubclass(kind, base) and any(getattr(kind, method) is not getattr(base, method) for method in methods):
            return role
    return ""


def _names_deciding(settings: Any) -> bool:
    """Return whether nested settings of plugins, by name, have one that decides which weights are evaluated."""
    if not isinstance(settings, dict):
        return False
    installed = plugin_registry.targets()
    return any(
        (name in installed and _role(plugin_registry.load(name))) or _names_deciding(inner) for name, inner in settings.items()
    )


def _places(state: Any) -> set[tuple[str, ...]]:
    """Return the places of the tensors in a part's state."""
    return {place for place, _ in tensors(state)}


def _no_loss(model: nn.Module, batch: Any) -> Any:
    raise RuntimeError("this run only has weights")
