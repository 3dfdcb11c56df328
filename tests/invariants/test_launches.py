"""What an update launches on a device does not grow with the number of parameters: every optimiser, average and clip.

It is counted on a CPU, whose parameters are made to take the routes of a device. An operation on a list counts once where torch's
multi-tensor kernels take the list on CUDA, else once for each tensor.
"""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import accel.optim.kernel_row
import accel.optim.tiles
import accel.plugins
from accel.optim.kernel_row import WHOLE
from accel.parts import Average, Clip, Grads, Optim, Progress

CLASSES = [getattr(accel.plugins, name) for name in accel.plugins.__all__]
PLUGINS = [cls for cls in CLASSES if inspect.isclass(cls) and issubclass(cls, Optim | Average | Clip)]
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "Average": [{"every": 1}, {"every": 1, "last": None}],
    "Clip": [{"mode": "norm"}, {"mode": "value"}, {"mode": "adaptive"}],
    "ScheduleFree": [{}, {"base": "sgd"}],
    "LARS": [{}, {"nesterov": True, "trust_clip": True}],
}
CASES = [(cls, settings) for cls in PLUGINS for settings in SETTINGS.get(cls.__name__, [{}])]
LIMITS = {"LAMB": 14, "LARS": 20, "ScheduleFree": 21, "Muon": 37}
"""The most operations of those that need more than 12 in some mode. Muon has 15 products for the matrices of one shape."""
CHEAP = ("empty", "new_empty", "empty_like", "empty_strided", "set_", "resize_", "_has_compatible_shallow_copy_type")


class Facts(SimpleNamespace):
    """Facts of a run, to which there may be weak references."""


class Launches(TorchDispatchMode):
    """A count of the kernels that operations would launch on CUDA."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returns, name = func._schema.returns, func._schema.name.split("::")[1]
        view = bool(returns) and returns[0].alias_info is not None and not returns[0].alias_info.is_write
        if not view and name not in CHEAP:
            lists = [each for each in args if isinstance(each, list | tuple) and each and isinstance(each[0], Tensor)]
            self.count += len(lists[0]) if name.startswith("_foreach") and not is_fast(name, lists) else 1
        return func(*args, **(kwargs or {}))


def is_fast(name: str, lists: list[Any]) -> bool:
    """Return whether torch's multi-tensor kernels take the lists (torch 2.10 to 2.14)."""
    first = lists[0]
    if name.startswith("_foreach_copy"):
        return all(a.stride() == b.stride() for a, b in zip(*lists, strict=True))
    if len({(tensor.dtype, tensor.device) for each in lists for tensor in each}) > 1:
        return False
    numbers = name.startswith("_foreach_addcmul") and len(lists) == 3 and all(tensor.dim() == 0 for tensor in lists[2])
    others = lists[1 : 2 if numbers else None]
    return all(a.shape == b.shape and a.stride() == b.stride() for each in others for a, b in zip(first, each, strict=True))


def launches(cls: type, settings: dict[str, Any], pairs: int, mode: str) -> int:
    """Return the launches of one update of a model of `pairs` matrices and as many vectors."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if mode == "bfloat16 weights" else torch.float32
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(pairs))).to(dtype)
    params = list(model.named_parameters())
    precision = SimpleNamespace(params=params, parameters=lambda model: params)
    parts = SimpleNamespace(precision=precision, rate=SimpleNamespace(factor=1.0), optim=Optim())
    run: Any = Facts(parts=parts, unwrapped_model=model, device=torch.device("cpu"), updates=100, progress=Progress())
    plugin = cls(**settings)
    plugin.setup(run)
    if mode == "device scalars":
        plugin.to_device_scalars()
    count = 0
    for _ in range(2):
        for _, param in params:
            param.grad = torch.randn_like(param)
        skips = mode in ("scale and skip", "device scalars")
        grads = Grads([param for _, param in params], torch.tensor(8.0) if skips else None, torch.tensor(0.0) if skips else None)
        act = plugin.step if isinstance(plugin, Optim) else plugin.limit if isinstance(plugin, Clip) else plugin.update
        with Launches() as counter:
            act(grads)
        count = counter.count
    return count


@pytest.mark.parametrize("mode", ["plain", "scale and skip", "bfloat16 weights", "device scalars"])
@pytest.mark.parametrize(("cls", "settings"), CASES, ids=lambda value: value.__name__ if inspect.isclass(value) else str(value))
def test_launches_do_not_grow_with_parameters(
    cls: type, settings: dict[str, Any], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (accel.optim.kernel_row, accel.optim.tiles, accel.plugins.ema, accel.plugins.clip, accel.plugins.lamb):
        monkeypatch.setattr(module, "moves_together", lambda tensor, sharding=WHOLE: sharding.mesh is None)
    few, many = (launches(cls, settings, pairs, mode) for pairs in (3, 30))
    assert few == many
    assert many <= LIMITS.get(cls.__name__, 12)
