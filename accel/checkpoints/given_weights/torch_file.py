"""Weights in a file of `torch.save`, whichever program wrote it. Nothing in it is run."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from accel.errors import ConfigError, listed

__all__ = ["HOLDERS", "load_torch_file", "state_in"]

HOLDERS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "params", "weights")
"""Keys under which programs keep a state dict beside other things; the first that is there counts."""


def load_torch_file(path: Path) -> Any:
    """Return the content of a file of `torch.save`: tensors, plain values and parsed arguments, on the CPU.

    Raises:
        ConfigError: for a file that is none, is damaged, or has objects whose classes would have to be imported.
    """
    try:
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        match = re.search(r"GLOBAL (\S+)|[Uu]nsupported class (\S+)", str(error))
        if match is None:
            raise ConfigError(f"{path} is no file of torch.save, or a damaged one") from error
        name = (match[1] or match[2]).rstrip(".,")
        raise ConfigError(
            f"{path} needs code to be read ({name}), and none is run; save weights alone: torch.save(model.state_dict(), FILE)"
        ) from error
    except OSError:
        raise
    except Exception as error:  # whatever its readers trip over
        raise ConfigError(f"{path} is no file of torch.save, or a damaged one") from error


def state_in(content: Any, origin: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of the state dict in the content of a file by name, and the key under which it was, empty for none.

    Raises:
        ConfigError: if there is none.
    """
    keys: list[str] = []
    while isinstance(content, dict):
        state = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
        inner = next((key for key in HOLDERS if isinstance(content.get(key), dict) and content[key]), None)
        if inner is None or len(keys) == 2:
            if state:
                return state, ".".join(keys)
            break
        keys.append(inner)
        content = content[inner]
    names = listed(content, 5) or "nothing" if isinstance(content, dict) else ""
    held = f"it has {names}" if names else f"it has a {type(content).__name__}"
    raise ConfigError(f"{origin} has no weights in it: {held}; save model.state_dict()")
