"""LARS in torch's fused SGD kernel.

The gradient, decayed and scaled by the ratio of its parameter, is made in scratch memory, tile by tile, and the kernel moves
momentum and weights with it while it is in the cache: 28 bytes of traffic per parameter.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from accel.errors import ConfigError
from accel.optim.fused import Fused, Row
from accel.optim.tiles import Section, lines, scaled, sections, squares


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

    @property
    def divides(self) -> bool:
        return False

    def keeps(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def plan(self, row: Row) -> list[Section]:
        found = sections(row)
        if not all(section.dense for section in found):
            raise ConfigError("LARS: a parameter is a slice of a larger tensor, and the kernel would move its neighbours; clone it")
        return found

    def kernel(self, row: Row, grads: list[Any]) -> None:
        group = row.group
        one = row.tensors[0].new_ones((), dtype=torch.promote_types(row.tensors[0].dtype, torch.float32))
        unscale = one if self.scale is None else self.scale.reciprocal()
        folds = one.device.type == "cpu" and not group["nesterov"]
        for section in row.plan:
            ratios = section.ones() if row.excluded else self.ratios(section, grads, unscale, group)
            (self.folded if folds else self.scaled)(section, row, grads, ratios, unscale)

    def folded(self, section: Section, row: Row, grads: list[Tensor], ratios: Tensor, unscale: Tensor) -> None:
        """Moves a section in one pass, which leaves the gradients alone: the ratio stands where the kernel has 1 - dampening."""
        group = row.group
        if self.found_inf is not None and self.found_inf.tolist():  # a number in the memory of the CPU: nobody waits for it
            return
        decay = 0.0 if row.excluded else group["weight_decay"] * (1.0 if self.scale is None else self.scale.tolist())
        shares: list[float] = (ratios * unscale).tolist()
        for tile, pieces in section.pieces(grads):
            pieces, _ = tile.divided(pieces, None, False)
            buffers = tile.state[0] if tile.state else []
            calls = [(slice(None), shares[0])] if len(set(shares)) == 1 else [(slice(i, i + 1), r) for i, r in enumerate(shares)]
            for part, share in calls:
                torch._fused_sgd_(
                    tile.params[part], pieces[part], buffers[part], weight_decay=decay, momentum=group["momentum"],
                    lr=group["lr"] if buffers else group["lr"] * share, dampening=1.0 - share, nesterov=False, maximize=False,
                    is_first_step=False,
                )  # fmt: skip

    def scaled(self, section: Section, row: Row, grads: list[Tensor], ratios: Tensor, unscale: Tensor) -> None:
        """Moves a section by gradients that are made in scratch memory."""
        group = row.group
        decay = 0.0 if row.excluded else group["weight_decay"]
        factors = list((ratios * unscale).unbind())
        decays = list((ratios * decay).unbind()) if decay else []
        for tile, pieces in section.pieces(grads):
            scaled(pieces, factors, tile.grads)
            if decays:
                torch._foreach_addcmul_(tile.grads, tile.params, decays)
            torch._fused_sgd_(
                tile.params, tile.grads, tile.state[0] if tile.state else [], weight_decay=0.0, momentum=group["momentum"],
                lr=group["lr"], dampening=0.0, nesterov=group["nesterov"], maximize=False, is_first_step=False,
                found_inf=self.found_inf,
            )  # fmt: skip

    def ratios(self, section: Section, grads: list[Tensor], unscale: Tensor, group: dict[str, Any]) -> Tensor:
        """r for each parameter of a section."""
        found_weights: list[Tensor] = []
        found_grads: list[Tensor] = []
        for tile, pieces in section.pieces(grads):
            found_weights += squares(tile.lines[0])
            found_grads += squares(lines(pieces))
        weights, norms = section.norms(found_weights, found_grads)
        norms = norms * unscale
        found = group["trust_coefficient"] * weights / (norms + group["weight_decay"] * weights + group["eps"])
        found = torch.where((weights > 0) & (norms > 0), found, 1.0)
        return (found / group["lr"]).clamp_(max=1.0) if group["trust_clip"] else found
