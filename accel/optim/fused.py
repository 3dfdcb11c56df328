"""torch's fused optimisers without the Python around their kernels.

torch gathers weights, gradients and state anew in every step, groups them by device and format, and asks whether someone profiles:
for a small model 20 to 40 microseconds around a kernel of 5. Here the lists are made once, and a step is little more than a call
of the kernel. The kernel is torch's, so are the state and its format, and a parameter without a gradient stays where it is, as
with torch.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from accel.errors import ConfigError
from accel.optim.apart import apart
from accel.optim.cycled import WEIGHT, correction, moments, weigh
from accel.optim.pages import placed
from accel.optim.spread import Spread, local, spread

Memory = dict[tuple[str, torch.device, torch.dtype], Tensor]
"""Scratch that is written anew before every use, by what it is for."""


class Row(NamedTuple):
    """What one call of the kernel moves: the parameters of one group on one device in one format."""

    group: dict[str, Any]
    params: list[Tensor]
    """Those of the user: what has the gradients."""
    tensors: list[Tensor]
    """What is moved: the parameters, or the pieces of them that this process has, in the same memory."""
    state: list[list[Tensor]]
    """One list for each name that `Fused.keeps` gives for the group, as long as `params`; of what is spread, the pieces."""
    counter: Tensor | None = None
    """The step counters in one tensor, of which those in `state` are views."""
    weights: Tensor | None = None
    """The weights of the first moments likewise, where beta1 is cycled."""
    excluded: bool = False
    """Whether its parameters are biases or of norms, in a group that leaves these out (`exclude`)."""
    spread: Spread = Spread()
    """How all of its parameters are spread over processes."""
    plan: Any = None
    """What `Fused.plan` made of it."""
    begins: tuple[int, ...] = ()
    """Where in memory `tensors` began when the plan was made."""

    @property
    def stale(self) -> bool:
        """Whether parameters were given other memory (`param.data = ...`) since the plan was made."""
        return self.plan is not None and self.begins != tuple([tensor.data_ptr() for tensor in self.tensors])

    @property
    def hosted(self) -> bool:
        """Whether it is whole, in the memory of the host, so that reading a number waits for nobody."""
        return self.spread.mesh is None and self.tensors[0].device.type == "cpu"

    def having(self, there: list[int]) -> Row:
        """The row with the parameters at these places alone."""
        params, tensors = [self.params[i] for i in there], [self.tensors[i] for i in there]
        state = [[values[i] for i in there] for values in self.state]
        return self._replace(params=params, tensors=tensors, state=state, counter=None, weights=None, plan=None)


def number(tensor: Tensor | None, otherwise: float) -> float:
    """What stands in a 0-dim tensor in the memory of the host: reading it waits for nobody."""
    return otherwise if tensor is None else float(tensor.tolist())  # type: ignore[arg-type]


class Fused(Optimizer):
    """What the fused optimisers have in common. Whoever scales gradients sets `grad_scale` and `found_inf`, as with torch's:
    0-dim float32 on the device, or None."""

    alone = False
    """Whether parameters may step one by one (`step_alone`) with the same bits: nothing is shared by several of them."""
    hosts = False
    """Whether, where the memory is the host's, a step reads numbers there: then a replay of its kernels would not be a step."""
    lacks: tuple[str, ...] = ()
    """Settings of torch's that the kernel is not called with."""
    grad_scale: Tensor | None  # without a default: torch.amp.GradScaler multiplies what it finds, and deletes its own
    found_inf: Tensor | None = None
    consumes = False
    """Whether a step may change `p.grad`: for one who frees the gradients after it, and spares LAMB a copy of them."""
    _step_supports_amp_scaling = True
    """For `torch.amp.GradScaler`: it hands over `grad_scale` and `found_inf`, and reads nothing."""
    rows: list[Row] | None = None
    partial: dict[int, tuple[list[int], Row]]
    """By the row's number: which of its parameters had a gradient when last some had none, and the row of these."""
    single: dict[Tensor, Row]
    """A row for each parameter alone; empty until `step_alone` is called."""

    @property
    def scale(self) -> Tensor | None:
        """What the gradients are to be divided by; None stands for 1."""
        return getattr(self, "grad_scale", None)

    @property
    def divides(self) -> bool:
        """Whether gradients are divided in place: with `grad_scale`, torch's kernels write the quotient back."""
        return self.scale is not None

    def keeps(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The names of the state of a group, in the order in which the kernel takes it."""
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        self.rows = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.rows = None
        for place, param in enumerate(param for group in self.param_groups for param in group["params"]):
            weight = state_dict["state"].get(place, {}).get(WEIGHT)
            if weight is not None:  # torch gives it the format of its parameter, which may be a short one
                self.state[param][WEIGHT] = weight.to(param.device, torch.float32)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, or none at all where `found_inf` says so; returns what the `closure`, called before it, did."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        rows = self.ready()
        if any(row.stale for row in rows):
            self.rows = None
            rows = self.ready()
        present = self.present(rows)
        try:
            self.move(self.owned(present))
        except NotImplementedError as error:
            if any(grad.is_sparse for _, grads in present for grad in grads):
                raise ConfigError("some gradients are sparse, which no fused optimiser takes; add SGD(fused=False)") from error
            raise
        return value

    @torch.no_grad()
    def step_alone(self, param: Tensor) -> None:
        """One step of one parameter, which has a gradient, with all others left as they are: their turn comes, or is over."""
        row = self.ready() and self.single.get(param)
        if not row or row.stale:
            self.rows, memory = None, dict[Any, Tensor]()
            for each in (row.having([place]) for row in self.ready() for place in range(len(row.params))):
                begins = (each.tensors[0].data_ptr(),)
                self.single[each.params[0]] = each._replace(plan=self.plan(each, memory), begins=begins)
            row = self.single[param]
        assert param.grad is not None
        self.move([(row, [local(param.grad, param)])])

    def ready(self) -> list[Row]:
        """The rows, made where there are none."""
        if self.rows is None:
            self.rows, self.partial, self.single = self.gather(), {}, {}
        return self.rows

    def present(self, rows: list[Row]) -> list[tuple[Row, list[Tensor]]]:
        """The rows with their gradients, without the parameters that have none."""
        found = []
        for number, row in enumerate(rows):
            grads = [param.grad for param in row.params]
            if any(grad is None for grad in grads):
                there = [i for i, grad in enumerate(grads) if grad is not None]
                if not there:
                    continue
                last, rest = self.partial.get(number, ([], row))
                if last != there:
                    rest = row.having(there)
                    self.partial[number] = there, rest._replace(plan=self.plan(rest, {}))
                if row.group.get("cycled"):
                    row.group["uneven"] = True  # from here on they have made different steps
                row = self.partial[number][1]
            pieces = [grad for grad in grads if grad is not None]
            if row.spread.mesh is not None:
                pieces = [local(grad, param) for grad, param in zip(pieces, row.params, strict=True)]
            found.append((row, pieces))
        return found

    def owned(self, rows: list[tuple[Row, list[Tensor]]]) -> list[tuple[Row, list[Tensor]]]:
        """The rows with gradients that share no memory, where a step divides them in place."""
        if not self.divides:
            return rows
        grads = iter(apart([grad for _, grads in rows for grad in grads]))
        return [(row, list(islice(grads, len(row.params)))) for row, _ in rows]

    def move(self, rows: list[tuple[Row, list[Tensor]]]) -> None:
        """Moves the parameters of all rows."""
        for row, grads in rows:
            self.kernel(row, grads)

    def gather(self) -> list[Row]:
        """The rows, with their state made where there is none yet."""
        rows: dict[tuple[int, torch.device, torch.dtype, bool, Spread], Row] = {}
        for number, group in enumerate(self.param_groups):
            for lacking in self.lacks:
                if group.get(lacking):
                    raise ValueError(f"{type(self).__name__} has no {lacking}; take torch.optim's own optimiser")
            names = self.keeps(group)
            for param in group["params"]:
                excluded = group.get("exclude") == "norm_and_bias" and param.dim() <= 1
                kind = spread(param)
                fresh = Row(group, [], [], [[] for _ in names], excluded=excluded, spread=kind)
                row = rows.setdefault((number, param.device, param.dtype, excluded, kind), fresh)
                row.params.append(param)
                row.tensors.append(local(param))
                for place, (name, values) in enumerate(zip(names, row.state, strict=True), start=1):
                    value = self.state[param].get(name)
                    value = self.fresh(name, param) if value is None else value
                    self.state[param][name] = value = value if row.spread.mesh else placed(value, param, place, len(names))
                    values.append(local(value))
        counted = [self.counting(row) for row in rows.values()]
        memory: Memory = {}
        return [
            row._replace(plan=self.plan(row, memory), begins=tuple([tensor.data_ptr() for tensor in row.tensors]))
            for row in counted
        ]

    def counting(self, row: Row) -> Row:
        """The row with its step counters as views of one tensor, so that they count up in one operation; its weights likewise."""
        return row._replace(counter=self.stacked(row, "step"), weights=self.stacked(row, WEIGHT))

    def stacked(self, row: Row, name: str) -> Tensor | None:
        """The state `name`, a number for each parameter, in one tensor, of which it is made views; None where there is none."""
        if name not in self.keeps(row.group):
            return None
        numbers = row.state[self.keeps(row.group).index(name)]
        whole = torch.stack(numbers)
        numbers[:] = whole.unbind()
        for param, view in zip(row.params, numbers, strict=True):
            self.state[param][name] = view
        return whole

    def steps(self, row: Row) -> list[Tensor]:
        """The step counters of a row."""
        return row.state[self.keeps(row.group).index("step")]

    def count(self, row: Row) -> None:
        """Counts a step, before it is made: the kernels want it so."""
        torch._foreach_add_(self.steps(row) if row.counter is None else [row.counter], 1)

    def uncount(self, row: Row) -> None:
        """Takes the step back where `found_inf` says that it was skipped."""
        if self.found_inf is not None:
            counts = self.steps(row) if row.counter is None else [row.counter]
            torch._foreach_sub_(counts, [self.found_inf] * len(counts))

    def corrections(self, row: Row) -> Tensor:
        """Where beta1 is cycled, and the step counted: what to multiply the update of each parameter by, (n,) float32."""
        beta1 = row.group["betas"][0]
        if row.counter is not None and row.weights is not None:
            weigh(row.weights, beta1, self.found_inf)
            return correction(row.counter, row.weights, beta1)
        views = row.state[self.keeps(row.group).index(WEIGHT)]
        weights = torch.stack(views)
        weigh(weights, beta1, self.found_inf)
        torch._foreach_copy_(views, list(weights.unbind()))
        return correction(torch.stack(self.steps(row)), weights, beta1)

    def plan(self, row: Row, memory: Memory) -> Any:
        """What the kernel needs of a row beyond it: made once, and kept in `Row.plan`. Rows that move in turn share `memory`."""

    def fresh(self, name: str, param: Tensor) -> Tensor:
        """The state called `name` before the first step."""
        scalar = name in ("step", WEIGHT)
        return torch.zeros((), dtype=torch.float32, device=param.device) if scalar else torch.zeros_like(param)

    def kernel(self, row: Row, grads: list[Any]) -> None:
        """Moves the parameters of a row."""
        raise NotImplementedError


class FusedSGD(Fused, SGD):
    """`torch.optim.SGD(fused=True)`, with its momentum buffers made at once, as zeros.

    torch makes them, uninitialised, in the first step; a fused first step that is skipped leaves them as garbage
    (torch 2.13), and the second step adds it to the weights. Starting from zero is the same arithmetic: 0 * momentum + g.
    Dampening would make it another, and is not there.
    """

    alone = True
    lacks = ("dampening",)

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)

    def keeps(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def kernel(self, row: Row, grads: list[Any]) -> None:
        group = row.group
        torch._fused_sgd_(
            row.tensors, grads, row.state[0] if row.state else [], lr=group["lr"], momentum=group["momentum"],
            weight_decay=group["weight_decay"], dampening=0.0, nesterov=group["nesterov"], maximize=group["maximize"],
            is_first_step=False, grad_scale=self.scale, found_inf=self.found_inf,
        )  # fmt: skip


class FusedAdamW(Fused, AdamW):
    """`torch.optim.AdamW(fused=True)`; in groups that are `cycled`, whose beta1 moves, with the first moment corrected by the true
    product of all beta1 (`accel.optim.cycled`)."""

    alone = True
    lacks = ("amsgrad",)

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)

    def keeps(self, group: dict[str, Any]) -> tuple[str, ...]:
        return moments(group)

    def kernel(self, row: Row, grads: list[Any]) -> None:
        adamw(self, row, grads)


def adamw(optimizer: Fused, row: Row, grads: list[Any]) -> None:
    """Moves a row whose state is that of `moments` by torch's fused AdamW kernel."""
    group = row.group
    optimizer.count(row)
    if group.get("cycled"):
        cycled_adamw(optimizer, row, grads)
    else:
        adamw_kernel(optimizer, group, row.tensors, grads, row.state, group["lr"], group["weight_decay"])
    optimizer.uncount(row)


def cycled_adamw(optimizer: Fused, row: Row, grads: list[Any]) -> None:
    """The step with a beta1 that moves. The rate has the correction in it; the decay, by the rate as it is, is made apart."""
    group, skip = row.group, optimizer.found_inf
    lr, decay = group["lr"], group["weight_decay"]
    rates = optimizer.corrections(row) * lr
    if decay:
        rest = 1 - lr * decay
        torch._foreach_mul_(row.tensors, rest if skip is None else torch.where(skip > 0, 1.0, rest))
    if not group.get("uneven"):  # all have made the same steps
        adamw_kernel(optimizer, group, row.tensors, grads, row.state, rates[0], 0.0)
        return
    for tensor, grad, rate, *state in zip(row.tensors, grads, rates.unbind(), *row.state, strict=True):
        adamw_kernel(optimizer, group, [tensor], [grad], [[value] for value in state], rate, 0.0)


def adamw_kernel(
    optimizer: Fused, group: dict[str, Any], tensors: list[Tensor], grads: list[Any], state: list[list[Tensor]],
    lr: float | Tensor, decay: float,
) -> None:  # fmt: skip
    """torch's kernel, for a row or for some of it."""
    torch._fused_adamw_(
        tensors, grads, state[0], state[1], [], state[2], lr=lr, beta1=group["betas"][0], beta2=group["betas"][1],
        weight_decay=decay, eps=group["eps"], amsgrad=False, maximize=group.get("maximize", False),
        grad_scale=optimizer.scale, found_inf=optimizer.found_inf,
    )  # fmt: skip
