"""LARS in torch's fused SGD kernel: 28 bytes of traffic per parameter.

On a CPU the kernel does all the work: its `dampening`, which scales a decayed gradient on its way into the momentum, is set so
that it scales by the ratio of the parameter. Elsewhere the ratio is a number on the device. There, and for Nesterov's momentum,
the decayed and scaled gradient is made in scratch memory, tile by tile. The kernel moves momentum and weights while the tile
is in the cache.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from accel.optim.fused import Fused, Memory
from accel.optim.kernel_row import KernelRow, host_value
from accel.optim.kernels.lars_section import LarsSection
from accel.optim.tiles import Section, flattened, scale_into, sections, squared_norms

__all__ = ["LARS"]


class LARS(Fused):
    """LARS in the form of timm and of apex's `LARC`: each parameter's gradient is scaled, and then SGD with momentum follows.

    For each parameter p with gradient g

        r = trust_coefficient ||p|| / (||g|| + weight_decay ||p|| + eps), or 1 where ||p|| or ||g|| is 0
        m = momentum m + r (g + weight_decay p)
        p = p - lr m                                 (nesterov: p - lr (r (g + weight_decay p) + momentum m))

    The paper has lr inside of m, which is equal while lr is constant. r is 1 for excluded parameters. `p.grad`, `grad_scale`,
    `found_inf` and host reads are as with `LAMB`.

    Args:
        params: tensors, or groups of them, of any floating dtype; the state has the dtype of its parameter.
        lr: the learning rate.
        momentum: the decay of the mean of the updates; 0 for none.
        weight_decay: the share of each weight added to its gradient.
        trust_coefficient: the length of an update relative to its weights, at a learning rate of 1.
        eps: added to the norms below the line.
        nesterov: look ahead along the momentum.
        exclude: norm_and_bias leaves parameters of at most one dimension out of weight decay and of adaptation.
        trust_clip: lr r is at most lr (the clipping of `LARC`): r is min(r / lr, 1).

    Raises:
        ValueError: for nesterov without momentum.

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

    algorithms = ("sgd",)
    per_parameter = reads_on_host = joins_excluded = True

    @property
    def divides(self) -> bool:
        """False: gradients are never divided in place."""
        return False

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the name of the momentum, if there is any."""
        return ("momentum_buffer",) if group["momentum"] else ()

    def plan(self, row: KernelRow, memory: Memory) -> list[Section] | list[LarsSection]:
        """Return the row cut into sections of tiles."""
        parts = sections(row, memory)
        return [LarsSection(row, section) for section in parts] if row.on_device else parts

    def kernel(self, row: KernelRow, grads: list[Any]) -> None:
        """Move the parameters of a row: in one pass on a CPU, else by scaled gradients in scratch memory."""
        if row.on_device:
            self.move_together(row, grads)
        elif row.on_host and not row.group["nesterov"]:
            self.move_in_one_pass(row, grads)
        else:
            self.move_by_scaled_grads(row, grads)

    def move_in_one_pass(self, row: KernelRow, grads: list[Tensor]) -> None:
        """Move a row in one pass, which does not change the gradients.

        The factor of a gradient takes the place of the kernel's 1 - dampening, a number on the host.
        """
        if host_value(self.found_inf, 0.0):
            return
        group, scale = row.group, host_value(self.scale, 1.0)
        decay = 0.0 if row.excluded else scale * group["weight_decay"]
        for section in row.plan:
            if row.excluded:
                factors_by_index = [(slice(None), 1.0 / scale)]
            else:
                lengths = section.host_norms(*self.squared_norms(section, grads))
                factors = [self.trust_ratio(weight, grad / scale, group) / scale for weight, grad in lengths]
                factors_by_index = [(slice(index, index + 1), factor) for index, factor in enumerate(factors)]
            for tile, parts in section.pieces(grads):
                dense_grads, _ = tile.divide_grads(parts, None, False)
                buffers = tile.state[0] if tile.state else []
                for indices, factor in factors_by_index:
                    row.kernel("sgd")(
                        tile.params[indices], dense_grads[indices], buffers[indices], weight_decay=decay,
                        momentum=group["momentum"], lr=group["lr"] if buffers else group["lr"] * factor,
                        dampening=1.0 - factor, nesterov=False,
                        maximize=False, is_first_step=False,
                    )  # fmt: skip

    def move_by_scaled_grads(self, row: KernelRow, grads: list[Tensor]) -> None:
        """Move a row by gradients that are scaled in scratch memory."""
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
            for tile, parts in section.pieces(grads):
                scale_into(parts, factors, tile.grads)
                if decays:
                    torch._foreach_addcmul_(tile.grads, tile.params, decays)
                row.kernel("sgd")(
                    tile.params, tile.grads, tile.state[0] if tile.state else [], weight_decay=0.0, momentum=group["momentum"],
                    lr=group["lr"], dampening=0.0, nesterov=group["nesterov"], maximize=False, is_first_step=False,
                    found_inf=self.found_inf,
                )  # fmt: skip

    def move_together(self, row: KernelRow, grads: list[Tensor]) -> None:
        """Move the parameters of a row on a device, all of a section by the same calls."""
        group, sgd = row.group, row.kernel("sgd")
        for part in row.plan:
            part.scale_grads([grads[place] for place in part.section.places], group, self.scale)
            sgd(
                part.tile.params, part.tile.grads, part.tile.state[0] if part.tile.state else [], weight_decay=0.0,
                momentum=group["momentum"], lr=group["lr"], dampening=0.0, nesterov=group["nesterov"], maximize=False,
                is_first_step=False, found_inf=self.found_inf,
            )  # fmt: skip

    def squared_norms(self, section: Section, grads: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the squared norms of weights and gradients in the tiles of a section, 0-dim each."""
        weights: list[Tensor] = []
        gradients: list[Tensor] = []
        for tile, parts in section.pieces(grads):
            weights += squared_norms(tile.flat[0])
            gradients += squared_norms(flattened(parts))
        return weights, gradients

    def trust_ratio(self, weight: float, grad: float, group: dict[str, Any]) -> float:
        """Return r of a parameter, from the norms of weight and true gradient."""
        ratio = 1.0
        if weight > 0 and grad > 0:
            ratio = group["trust_coefficient"] * weight / (grad + group["weight_decay"] * weight + group["eps"])
        if group["trust_clip"]:  # min(r / lr, 1), also where lr is 0
            ratio = ratio / group["lr"] if ratio < group["lr"] else 1.0
        return float(ratio)

    def trust_ratios(self, weights: Tensor, grads: Tensor, group: dict[str, Any]) -> Tensor:
        """Return r of several parameters, (n,), from the norms of weights and true gradients, (n,) on the device."""
        ratios = group["trust_coefficient"] * weights / (grads + group["weight_decay"] * weights + group["eps"])
        ratios = torch.where((weights > 0) & (grads > 0), ratios, 1.0)
        return (ratios / group["lr"]).clamp_(max=1.0) if group["trust_clip"] else ratios
