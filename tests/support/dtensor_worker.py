"""One of the two processes of `test_dtensor.py`."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from accel.optim import LAMB, LARS
from accel.optim.adamw import FusedAdamW
from accel.optim.sgd import FusedSGD
from accel.parts import Grads

SHAPES = [(64, 32), (33, 5), (1, 700), (40, 30), (7,), (128,), (4, 4)]
PLACES: list[Any] = [Shard(0), Shard(0), Shard(0), Shard(1), Shard(0), Replicate(), Replicate()]
OPTIMS: list[tuple[Any, dict[str, Any]]] = [
    (LAMB, {"lr": 0.01}),
    (LAMB, {"lr": 0.01, "exclude": "none"}),
    (LARS, {"lr": 0.1}),
    (LARS, {"lr": 0.1, "nesterov": True, "exclude": "none"}),
    (FusedSGD, {"lr": 0.1, "momentum": 0.9}),
    (FusedAdamW, {"lr": 0.01}),
]


def main(store: str, rank: int) -> None:
    dist.init_process_group("gloo", store=dist.FileStore(store, 2), rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    for kind, settings in OPTIMS:
        rng = torch.Generator().manual_seed(0)
        weights = [torch.randn(shape, generator=rng) for shape in SHAPES]
        weights[0].mul_(5)
        mine = [nn.Parameter(distribute_tensor(weight, mesh, [place])) for weight, place in zip(weights, PLACES, strict=True)]
        whole = [nn.Parameter(weight.clone()) for weight in weights]
        optim, other = kind(mine, **settings), kind(whole, **settings)
        for step in range(6):
            grads = [torch.randn(shape, generator=rng) for shape in SHAPES]
            for param, twin, grad, place in zip(mine, whole, grads, PLACES, strict=True):
                twin.grad = grad * 4
                param.grad = distribute_tensor(grad * 4, mesh, [place])
            # half of it on each process, as autograd leaves what each found by itself
            mine[-1].grad = DTensor.from_local(grads[-1] * 2, mesh, [Partial()])
            sharded_norm, whole_norm = Grads(mine).norm(), Grads(whole).norm()
            torch.testing.assert_close(sharded_norm, whole_norm, rtol=1e-6, atol=0)
            for each in (optim, other):
                each.grad_scale, each.found_inf = torch.tensor(4.0), torch.tensor(float(step == 2))
            with mock.patch.object(dist, "all_reduce", wraps=dist.all_reduce) as calls:
                optim.step()
            other.step()
        for param, twin, place in zip(mine, whole, PLACES, strict=True):
            actual = param.detach().full_tensor()  # type: ignore[attr-defined]
            distance = float((actual - twin.detach()).norm() / twin.detach().norm())
            assert distance <= 1e-6, (kind, settings, place, distance)
        saved = optim.state_dict()["state"][0]
        name = next(name for name in saved if name != "step")
        assert isinstance(saved[name], DTensor)
        assert saved[name].shape == SHAPES[0]
        print(kind.__name__, calls.call_count, "collectives a step", settings)
    dist.destroy_process_group()
