"""Schedule-Free AdamW and SGD, in torch's fused kernels and without a read on the host.

The kernel moves scratch memory, as with LAMB. At a rate of -1 and without memory of the gradient, it turns zeros into the
direction of the step. If the step is skipped, it leaves zeros. The rest is a few numbers on the device and three passes
over a tile that is in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from accel.device.dtensor import local_shard, real_shard
from accel.optim.fused import Fused, Memory
from accel.optim.kernel_row import KernelRow, follow_weights
from accel.optim.kernels.averaged_points import PointsPlan, follow_together, move_points_together
from accel.optim.tiles import Section, scale_into, sections

__all__ = ["ScheduleFree", "StepScalars", "move_points"]


class StepScalars(NamedTuple):
    """The scalars of one update, each 0-dim float32 on the device."""

    step: Tensor
    """The number of the update, from 1; skipped ones do not count."""
    lr: Tensor
    """The learning rate; 0 if the update is skipped."""
    weight: Tensor
    """The weight of this update in the average, by which y moves to z; 0 if the update is skipped."""
    y_scale: Tensor
    """The share of the step that y takes itself: 1 - beta1 (1 - weight)."""


class ScheduleFree(Fused):
    """Schedule-Free AdamW or SGD: no schedule, and the average of its own steps to evaluate.

    There are three points: z takes the steps, x is the average of the z, and y, between them, is where gradients are taken. The
    parameters hold y; inside `averaged()` they hold x. An average in 16 bits would not move, so y and z of such parameters are kept
    in float32, and the parameters hold y, or x, rounded. With u the gradient (SGD), or the gradient over the root of its second
    moment (AdamW)

        u = u + weight_decay y                              w = lr'^weight_lr_power t^r, with lr' the largest lr so far
        z = z - lr u                                        c = w / (the sum of all w)
        x = (1 - c) x + c z                                 y = (1 - beta1) z + beta1 x

    where lr grows to its value over the first `warmup` steps. `p.grad`, `grad_scale`, `found_inf` and host reads are as with
    `LAMB`: a skipped step moves no counter and no average either.

    Args:
        params: tensors, or groups of them, of any floating dtype; the state has the dtype of its parameter, float32 at least.
        lr: the learning rate; for sgd about 10 times that of SGD with momentum.
        betas: the position of y between z (0) and x (1), above 0; and the decay of the second moment of adamw.
        eps: added to the root of the second moment.
        weight_decay: the share of each weight in its update.
        warmup: the number of steps over which the learning rate grows, from lr / warmup on.
        base: the algorithm of z's steps.
        r: a power of the step, by which later steps weigh more.
        weight_lr_power: a power of the learning rate, by which steps of the warm-up weigh less.
        exclude: norm_and_bias leaves parameters of at most one dimension out of weight decay.

    Raises:
        ValueError: for a first beta of 0, of which x could not be computed again.

    Source: Defazio et al., The Road Less Scheduled, arXiv 2405.15682; the arithmetic is that of `schedulefree` 1.4, to rounding.
    """

    algorithms = ("adam", "sgd")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 0.0025,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup: int = 0,
        base: Literal["adamw", "sgd"] = "adamw",
        *,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        exclude: Literal["none", "norm_and_bias"] = "none",
    ) -> None:
        if not 0 < betas[0] < 1:
            raise ValueError(f"the first of betas must lie between 0 and 1, not be {betas[0]}")
        settings = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "warmup": warmup, "base": base, "r": r,
            "weight_lr_power": weight_lr_power, "exclude": exclude, "fused": True,
        }  # fmt: skip
        super().__init__(params, settings)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Hold x in the parameters inside the block, to evaluate or save it; afterwards y, bit for bit."""
        rows = self.current_rows()
        pieces = [[real_shard(param.detach()) for param in row.params] for row in rows]
        copies = [[piece.clone() for piece in row_pieces] for row_pieces in pieces]
        with torch.no_grad():
            for row, row_pieces in zip(rows, pieces, strict=True):
                share = 1 - 1 / row.group["betas"][0]
                if row.tensors[0].dtype == row_pieces[0].dtype:
                    torch._foreach_lerp_(row_pieces, row.state[0], share)
                else:
                    follow_weights(row)
                    torch._foreach_copy_(row_pieces, list(torch._foreach_lerp(row.tensors, row.state[0], share)))
        try:
            yield
        finally:
            with torch.no_grad():
                for row_pieces, row_copies in zip(pieces, copies, strict=True):
                    torch._foreach_copy_(row_pieces, row_copies)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state as `Fused` does, and y in float32."""
        super().load_state_dict(state_dict)
        for place, param in enumerate(param for group in self.param_groups for param in group["params"]):
            if "y" in self.state.get(param, {}):
                self.state[param]["y"] = self.match_layout("z", state_dict["state"][place]["y"], self.state[param]["y"], param)

    def kernel_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype of the points."""
        return torch.promote_types(dtype.to_real(), torch.float32)

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of z, of the second moment of adamw, and of the step counter."""
        return ("z", "exp_avg_sq", "step") if group["base"] == "adamw" else ("z", "step")

    def initial_state(self, name: str, param: Tensor) -> Tensor:
        """Return the state called `name` before the first step: `z` begins at the weights.

        `step` is (3,) float32: the steps made, the largest learning rate so far, and the sum of all weights in the average, as a
        multiple of the last. As a multiple it stays exact, which a sum of small squares would not.
        """
        if name == "z":
            return param.detach().to(torch.promote_types(param.dtype, torch.float32), copy=True)
        if name == "step":
            return torch.zeros(3, dtype=torch.float32, device=param.device)
        return torch.zeros_like(param, dtype=torch.promote_types(param.dtype, torch.float32))

    def stack_counters(self, row: KernelRow) -> KernelRow:
        """Return the row with one `step` for all its parameters, because one average holds for all of them; and with its y.

        Parameters that came later join the average of the others.
        """
        steps = self.step_counters(row)
        steps[:] = [torch.stack(steps).amax(0)] * len(steps)
        for param in row.params:
            self.state[param]["step"] = steps[0]
            if param.dtype.itemsize < 4:
                self.state[param].setdefault("y", self.initial_state("z", param))
        if row.params[0].dtype.itemsize >= 4:
            return row
        return row._replace(tensors=[local_shard(self.state[param]["y"]) for param in row.params], dense=True)

    def plan(self, row: KernelRow, memory: Memory) -> list[Section] | PointsPlan:
        """Return the row cut into sections of tiles."""
        parts = sections(row._replace(state=row.state[:-1]), memory)
        clock = row.state[-1][0]
        return PointsPlan(parts, torch.zeros_like(clock), torch.ones_like(clock[0])) if row.on_device else parts

    def step_scalars(self, group: dict[str, Any], clock: Tensor) -> StepScalars:
        """Return the scalars of the next step, and count it in `clock`, unless it is skipped.

        Args:
            group: the settings.
            clock: (3,) float32 on the device, updated in place: the state `step` of `initial_state`.
        """
        count, highest, length = clock.unbind()
        step = count + 1
        lr = torch.full_like(step, 1.0) if not group["warmup"] else (step / group["warmup"]).clamp_(max=1.0)
        lr = lr * group["lr"]
        peak = torch.maximum(highest, lr)
        shrink = torch.where(peak > 0, highest / peak, 1.0) ** group["weight_lr_power"]
        if group["r"]:
            shrink = shrink * (count / step) ** group["r"]
        total = length * shrink + 1
        weight = total.reciprocal()
        y_scale = 1 - group["betas"][0] * (1 - weight)
        advanced = torch.stack([step, peak, total])
        if self.found_inf is not None:
            skip = self.found_inf.bool()
            advanced = torch.where(skip, clock, advanced)
            lr, weight = torch.where(skip, 0.0, lr), torch.where(skip, 0.0, weight)
        clock.copy_(advanced)
        return StepScalars(step, lr, weight, y_scale)

    def kernel(self, row: KernelRow, grads: list[Any]) -> None:
        """Move the parameters of a row, tile by tile."""
        group, clock = row.group, self.step_counters(row)[0]
        decay = 0.0 if row.excluded else group["weight_decay"]
        rounded = "y" in self.state[row.params[0]]
        if row.on_device:
            if rounded:
                follow_together(row)
            move_points_together(row, grads, self.found_inf, self.scale, decay=decay, consumes=self.frees_grads)
            if rounded:
                torch._foreach_copy_([local_shard(param) for param in row.params], row.tensors)
            return
        scalars = self.step_scalars(group, clock)
        follow_weights(row)
        unscale: Any = 1.0 if self.scale is None else self.scale.reciprocal()
        for section in row.plan:
            for tile, parts in section.pieces(grads):
                scale_into(parts, unscale if isinstance(unscale, float) else [unscale] * len(parts), tile.grads)
                torch._foreach_zero_(tile.updates)
                if group["base"] == "adamw":
                    # with a beta of 0 the first moment is the gradient, and may be written over it
                    row.kernel("adam", scratch=True)(
                        tile.updates, tile.grads, tile.grads, tile.state[1], [], [scalars.step] * len(parts), lr=-1.0, beta1=0.0,
                        beta2=group["betas"][1], weight_decay=0.0, eps=group["eps"], amsgrad=False, maximize=False,
                        found_inf=self.found_inf,
                    )  # fmt: skip
                else:
                    row.kernel("sgd", scratch=True)(
                        tile.updates, tile.grads, [], weight_decay=0.0, momentum=0.0, lr=-1.0, dampening=0.0, nesterov=False,
                        maximize=False, is_first_step=False, found_inf=self.found_inf,
                    )  # fmt: skip
                if decay:
                    torch._foreach_add_(tile.updates, tile.params, alpha=decay)
                move_points(tile.params, tile.state[0], tile.updates, scalars)
        if rounded:
            torch._foreach_copy_([local_shard(param) for param in row.params], row.tensors)


def move_points(y: list[Tensor], z: list[Tensor], steps: list[Tensor], scalars: StepScalars) -> None:
    """Move y and z by steps: y = y + weight (z - y) - y_scale lr steps, z = z - lr steps.

    Args:
        y: the parameters.
        z: the points that take the steps.
        steps: the directions, which are written over.
        scalars: the scalars of the update.
    """
    for point, target in zip(y, z, strict=True):
        point.lerp_(target, scalars.weight.to(point.dtype))
    torch._foreach_mul_(steps, scalars.lr)
    torch._foreach_sub_(z, steps)
    torch._foreach_mul_(steps, scalars.y_scale)
    torch._foreach_sub_(y, steps)
