"""Models of the package timm by their names, for pictures of any size and any number of classes.

Nothing is loaded from a network: timm is asked for fresh weights, and a file of pretrained ones is read as any other (`init`).
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accel.errors import ConfigError, listed, nearest
from accel.system.machine import required
from accel.tasks.normalise import MEAN, STD

__all__ = ["FILTERS", "PREFIX", "TimmModel"]

PREFIX = "timm/"
"""What the names of these models begin with, as those of their repositories on the Hub do."""
FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
"""Names that timm gives, in the module of a model, to the function that makes a published state dict fit the model."""
WISHES = ("pretrained", "true", "imagenet", "hub")
"""What is typed for weights of which no file is named."""


class TimmModel:
    """Model of timm by its name, `timm/resnet18` or with the tag of its published weights, `timm/resnet18.a1_in1k`.

    Args:
        setting: setting that holds the name, such as `task.model`, for messages.
        typed: the name, with `timm/`.

    Raises:
        ConfigError: if timm is missing or cannot be imported, or it has no such model or tag.
    """

    def __init__(self, setting: str, typed: str) -> None:
        self.words, self.name = f"{setting}={typed}", typed.removeprefix(PREFIX)
        self.timm = _import_timm(self.words)
        self.architecture, _, tag = self.name.partition(".")
        if not self.timm.is_model(self.architecture):
            names = [PREFIX + name for name in self.timm.list_models()]
            hint = nearest(PREFIX + self.architecture, names) or "; timm.list_models() names them all"
            raise ConfigError(f"{self.words}: timm {self.timm.__version__} has no such model{hint}")
        tags = [name.partition(".")[2] for name in self.timm.models.get_arch_pretrained_cfgs(self.architecture)]
        if tag and tag not in tags:
            known = nearest(tag, tags) or f"; there is {listed(filter(None, tags), 5) or 'none'}"
            raise ConfigError(f"{self.words}: timm {self.timm.__version__} has no weights {tag!r} of {self.architecture}{known}")
        self.published: Any = self.timm.models.get_pretrained_cfg(self.name)

    @property
    def normalisation(self) -> dict[str, tuple[float, ...]]:
        """Mean and standard deviation that the published weights of this name expect; ImageNet's where timm does not say."""
        return {"mean": _three(self.published, "mean", MEAN), "std": _three(self.published, "std", STD)}

    def make(self, classes: int, size: int, is_loaded: bool = False) -> nn.Module:
        """Return the model with fresh weights, for so many classes and pictures of `size` x `size`.

        Args:
            classes: number of classes.
            size: side of the pictures, in pixels.
            is_loaded: whether it was a run's already, so that nothing needs to be tried.

        Raises:
            ConfigError: if the model does not take such pictures, or is no classifier.
        """
        try:
            model = self._create(classes, size)
            outputs = None if is_loaded else self._outputs(model, classes, size)
        except Exception as error:  # of whatever timm trips over: an assertion, a kernel that is larger than the picture
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise ConfigError(
                f"{self.words} takes no pictures of {size} pixels ({reason}); set another task.size{self._own_size()}"
            ) from error
        if not is_loaded and (not isinstance(outputs, Tensor) or outputs.shape != (2, classes)):
            raise ConfigError(f"{self.words} returns no scores of {classes} classes; take a classifier")
        return model

    def adapt(self, model: nn.Module, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return given weights as the model takes them, and the weights of the model that begin anew, with the reason.

        They are resampled for another size of pictures, and lose a head for other classes.

        Raises:
            ConfigError: if timm's own function for that cannot work with them.
        """
        shapes = {name: value.shape for name, value in model.state_dict().items()}
        heads = _heads(self.published, shapes)
        misfits = [name for name, value in state.items() if name not in heads and shapes.get(name) != value.shape]
        if misfits and (adapt := _filter_of(model)) is not None:
            try:
                state = dict(adapt(dict(state)))
            except Exception as error:
                reason = " ".join(str(error).split())[:160] or type(error).__name__
                raise ConfigError(f"timm cannot make these weights fit {self.name} ({reason})") from error
        misfits = [name for name in heads if name in state and state[name].shape != shapes[name]]
        if not misfits:
            return state, {}
        before, now = state[misfits[0]].shape[0], shapes[misfits[0]][0]
        layers = {name.rpartition(".")[0] for name in misfits}
        anew = {
            name: f"a head for {before:,} classes was given, and there are {now:,}"
            for name in heads
            if name.rpartition(".")[0] in layers
        }
        return {name: value for name, value in state.items() if name not in anew}, anew

    def check_init(self, init: Any) -> None:
        """Raise ConfigError for an `init` that names weights of the Hub and no file, or a folder of another model of timm."""
        if not isinstance(init, str | Path):
            return
        text, path = str(init), Path(init)
        wanted = text.rpartition(":")[2].removeprefix(PREFIX)
        if not path.exists() and (text.lower() in WISHES or self.timm.is_model(wanted.partition(".")[0])):
            name = self.name if text.lower() in WISHES else wanted
            raise ConfigError(
                f"init={text}: there is no such file, and nothing is loaded from the Hub; fetch it once, with 'hf download "
                f"{PREFIX}{name} --local-dir DIR', and say init=DIR"
            )
        config = path / "config.json"
        if config.is_file():
            try:
                content = json.loads(config.read_text(encoding="utf-8"))
            except (ValueError, OSError):  # whoever reads the weights says what is wrong with the folder
                return
            self._compare(path, content)

    def _compare(self, folder: Path, config: Any) -> None:
        """Raise ConfigError if a folder of the Hub holds another model, or weights that expect another normalisation."""
        if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
            return
        published = config.get("pretrained_cfg")
        published = published if isinstance(published, dict) else {}
        tag = published.get("tag")
        full = f"{PREFIX}{config['architecture']}{f'.{tag}' if tag else ''}"
        if config["architecture"] != self.architecture:
            raise ConfigError(f"init={folder} has weights of {full}, and {self.words}; set task.model={full}")
        own = self.normalisation
        other = {name: tuple(published.get(name) or own[name]) for name in own}
        if other != own:
            raise ConfigError(
                f"init={folder} expects pictures of mean {other['mean']} and std {other['std']}, and {self.words} gives mean "
                f"{own['mean']} and std {own['std']}; set task.model={full}"
            )

    def _create(self, classes: int, size: int) -> nn.Module:
        """Return the model, made for the size of the pictures where its class takes that."""
        create = partial(self.timm.create_model, self.name, pretrained=False, num_classes=classes)
        try:
            model: nn.Module = create(img_size=size)
        except TypeError as error:
            if "unexpected keyword" not in str(error) or "img_size" not in str(error):  # of Python, or of a class that looks itself
                raise
            model = create()
        return model

    def _outputs(self, model: nn.Module, classes: int, size: int) -> Any:
        """Return what the model gives for two pictures: tried without memory first, where that can be."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            with suppress(Exception), torch.device("meta"):
                return self._create(classes, size).eval()(torch.empty(2, 3, size, size))
            mode = model.training
            try:
                return model.eval()(torch.zeros(2, 3, size, size))
            finally:
                model.train(mode)

    def _own_size(self) -> str:
        """Return the size of the pictures that the model was published for, to end a sentence; empty if timm does not say."""
        size = getattr(self.published, "input_size", None)
        return f", such as {size[-1]}" if size else ""


def _import_timm(words: str) -> Any:
    """Return the package timm. Raise ConfigError if it is missing, or cannot be imported."""
    with required(f"{words} needs the package timm", "timm"):
        try:
            import timm
        except (RuntimeError, OSError) as error:  # of a torchvision for another torch
            reason = " ".join(str(error).split())[:160]
            raise ConfigError(
                f"{words}: timm cannot be imported ({reason}); install the torchvision that goes with torch {torch.__version__}"
            ) from error
    return timm


def _three(published: Any, name: str, otherwise: tuple[float, ...]) -> tuple[float, ...]:
    """Return numbers of the three channels."""
    numbers = getattr(published, name, None)
    return tuple(map(float, numbers)) if numbers is not None and len(numbers) == 3 else otherwise


def _heads(published: Any, shapes: dict[str, Any]) -> list[str]:
    """Return the names of the weights and biases of a model's classifiers."""
    heads = getattr(published, "classifier", None) or ()
    heads = (heads,) if isinstance(heads, str) else heads
    return [name for head in heads for name in (f"{head}.weight", f"{head}.bias") if name in shapes]


def _filter_of(model: nn.Module) -> Callable[[dict[str, Tensor]], dict[str, Tensor]] | None:
    """Return timm's function that makes a published state dict fit the model, from the module that defines it; None without."""
    module = sys.modules.get(type(model).__module__)
    adapt = next((function for name in FILTERS if callable(function := getattr(module, name, None))), None)
    if adapt is None:
        return None
    takes_model = len(inspect.signature(adapt).parameters) > 1
    return (lambda state: adapt(state, model)) if takes_model else adapt
