"""LARS in torch's fused SGD kernel: 28 bytes of traffic per parameter.

On a CPU the kernel does all of it: its `dampening`, which scales a decayed gradient on its way into the momentum, is made to scale
by the ratio of the parameter. Elsewhere, where the ratio is a number on the device, and for Nesterov's momentum, the decayed and
scaled gradient is made in scratch memory, tile by tile, and the kernel moves momentum and weights while it is in the cache.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from accel.errors import ConfigError
from accel.optim.fused import Fused, Memory
from accel.optim.kernel_row import KernelRow, host_value
from accel.optim.tiles import Section, flattened, scale_into, sections, squared_norms


class LARS(Fused):
    """LARS in the form of timm and of apex's `LARC`: each parameter's gradient is scaled, and then SGD with momentum follows.

    For each parameter p with gradient g

        r = trust_coefficient ||p|| / (||g|| + weight_decay ||p|| + eps), or 1 where ||p|| or ||g|| is 0
        m = momentum m + r (g + weight_decay p)
        p = p - lr m                                 (nesterov: p - lr (r (g + weight_decay p) + momentum m))

    The paper has lr inside of m: the same while lr is constant. r is 1 for what is excluded. `p.grad`, `grad_scale`,
    `found_inf` and host reads are as with `LAMB`.

    Args:
        params: tensors, or groups of them, of any floating dtype; the state has the dtype of its parameter.
        lr: the learning rate.
        momentum: how slowly the mean of the updates forgets; 0 for none.
        weight_decay: the share of each weight added to its gradient.
        trust_coefficient: how long an update is beside its weights, at a learning rate of 1.
        eps: added to the norms below the line.
        nesterov: look ahead along the momentum.
        exclude: norm_and_bias leaves parameters of at most one dimension out of weight decay and of adaptation.
        trust_clip: lr r is at most lr (the clipping of `LARC`): r is min(r / lr, 1).

    Raises:
        ValueError: for nesterov without momentum; at the first step, for a parameter that is a slice of a larger tensor.

    Source: You et al., Large Batch Training of Convolutional Networks, arXiv 1708.03888.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        trust_coefficient: float = 1e-3,
        eps: float = 1e-8,
        nesterov: bool = False,
        exclude: Literal["none", "norm_and_bias"] = "norm_and_bias",
        *,
        trust_clip: bool = False,
    ) -> None:
        if nesterov and momentum == 0:
            raise ValueError("nesterov needs momentum")
        settings = {
            "lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust_coefficient": trust_coefficient, "eps": eps,
            "nesterov": nesterov, "exclude": exclude, "trust_clip": trust_clip, "fused": True,
        }  # fmt: skip
        super().__init__(params, settings)

    per_parameter = reads_on_host = True

    @property
    def divides(self) -> bool:
        return False

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def plan(self, row: KernelRow, memory: Memory) -> list[Section]:
        found = sections(row, memory)
        if not all(section.dense for section in found):
            raise ConfigError("LARS: a parameter is a slice of a larger tensor, and the kernel would move its neighbours; clone it")
        return found

    def kernel(self, row: KernelRow, grads: list[Any]) -> None:
        if row.on_host and not row.group["nesterov"]:
            self.move_in_one_pass(row, grads)
        else:
            self.move_by_scaled_grads(row, grads)

    def move_in_one_pass(self, row: KernelRow, grads: list[Tensor]) -> None:
        """Moves a row in one pass, which leaves the gradients alone: what they are scaled by stands where the kernel has
        1 - dampening, a number of the host's."""
        if host_value(self.found_inf, 0.0):
            return
        group, scale = row.group, host_value(self.scale, 1.0)
        decay = 0.0 if row.excluded else scale * group["weight_decay"]
        for section in row.plan:
            if row.excluded:
                calls = [(slice(None), 1.0 / scale)]
            else:
                lengths = section.host_norms(*self.squared_norms(section, grads))
                shares = [self.trust_ratio(weight, grad / scale, group) / scale for weight, grad in lengths]
                calls = [(slice(place, place + 1), share) for place, share in enumerate(shares)]
            for tile, pieces in section.pieces(grads):
                owned, _ = tile.divide_grads(pieces, None, False)
                buffers = tile.state[0] if tile.state else []
                for part, share in calls:
                    torch._fused_sgd_(
                        tile.params[part], owned[part], buffers[part], weight_decay=decay, momentum=group["momentum"],
                        lr=group["lr"] if buffers else group["lr"] * share, dampening=1.0 - share, nesterov=False,
                        maximize=False, is_first_step=False,
                    )  # fmt: skip

    def move_by_scaled_grads(self, row: KernelRow, grads: list[Tensor]) -> None:
        """Moves a row by gradients that are made in scratch memory."""
        group = row.group
        decay = 0.0 if row.excluded else group["weight_decay"]
        unscale = None if self.scale is None else self.scale.reciprocal()
        for section in row.plan:
            ratios = section.ones()
            if not row.excluded:
                weights, norms = section.norms(*self.squared_norms(section, grads))
                ratios = self.trust_ratios(weights, norms if unscale is None else norms * unscale, group)
            factors = list((ratios if unscale is None else ratios * unscale).unbind())
            decays = list((ratios * decay).unbind()) if decay else []
            for tile, pieces in section.pieces(grads):
                scale_into(pieces, factors, tile.grads)
                if decays:
                    torch._foreach_addcmul_(tile.grads, tile.params, decays)
                torch._fused_sgd_(
                    tile.params, tile.grads, tile.state[0] if tile.state else [], weight_decay=0.0, momentum=group["momentum"],
                    lr=group["lr"], dampening=0.0, nesterov=group["nesterov"], maximize=False, is_first_step=False,
                    found_inf=self.found_inf,
                )  # fmt: skip

    def squared_norms(self, section: Section, grads: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The squared norms of weights and gradients in the tiles of a section."""
        weights: list[Tensor] = []
        found: list[Tensor] = []
        for tile, pieces in section.pieces(grads):
            weights += squared_norms(tile.flat[0])
            found += squared_norms(flattened(pieces))
        return weights, found

    def trust_ratio(self, weight: float, grad: float, group: dict[str, Any]) -> float:
        """r for a parameter, from the norms of weight and true gradient."""
        found = 1.0
        if weight > 0 and grad > 0:
            found = group["trust_coefficient"] * weight / (grad + group["weight_decay"] * weight + group["eps"])
        if group["trust_clip"]:  # min(r / lr, 1), also where lr is 0
            found = found / group["lr"] if found < group["lr"] else 1.0
        return float(found)

    def trust_ratios(self, weights: Tensor, grads: Tensor, group: dict[str, Any]) -> Tensor:
        """The same for several on a device, `(n,)`."""
        found = group["trust_coefficient"] * weights / (grads + group["weight_decay"] * weights + group["eps"])
        found = torch.where((weights > 0) & (grads > 0), found, 1.0)
        return (found / group["lr"]).clamp_(max=1.0) if group["trust_clip"] else found
