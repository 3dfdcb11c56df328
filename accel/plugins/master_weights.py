"""MasterWeights: 16-bit weights, with 32-bit masters for the optimiser.

The weights and biases of linear layers and convolutions are kept in 16 bits.
Each has a master: the float32 weight from which it was made. The optimiser
moves the master, the average follows it, and checkpoints keep it. After each
update the weight becomes its master, rounded.

Gradients are summed in float32: once a layer's 16-bit gradient is there, it is
added to that of the master, and freed. All else is as with `amp`: the products
run under autocast. Norms, embeddings and the loss compute in float32 with
float32 weights. The run hands back the masters.

Helps   accumulation over many small micro-batches: a weight is rounded once per
        update, where `amp` rounds it in every forward pass. `amp` rounds a
        frozen weight wherever it is used. Models that come in 16 bits, whose
        updates would vanish in rounding. A transformer of 10 M weights, with 8
        micro-batches of 32 tokens, is 1.37 times as fast as in float32, and
        with `amp` 1.29 times. (CPU time, one thread, n = 3; the losses are
        equal.)
Hurts   nothing where `amp` helps; small models gain from neither.
Costs   2 bytes per 16-bit weight besides master, gradient and optimiser state.
        `amp` needs them too, but frees them between the passes. At its peak
        ResNet-18 takes 254 MB, with `amp` 234, in float32 280; the transformer
        275, 276 and 263 (n = 1; `python benchmarks/amp.py`).
Source  Micikevicius et al., Mixed Precision Training, arXiv 1710.03740, section
        3.1; DeepSpeed's BF16_Optimizer.
Exact   amp's numbers to the last bit where those weights are used in products
        alone. A penalty on the weights, written into the loss, sees them
        rounded. float64 and complex weights stay as they
        are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from accel.compress.product_parameters import find_product_params
from accel.errors import ConfigError
from accel.parts import Autocast, Parallel, Replacement

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["MasterWeights", "Weight", "make_gradient_hook", "make_weight"]


class Weight(NamedTuple):
    """A 16-bit parameter of the model, and the float32 master that it is rounded from."""

    name: str
    param: nn.Parameter
    master: nn.Parameter
    dtype: torch.dtype
    """The dtype that the parameter came in."""
    hook: RemovableHandle | None
    """The hook that moves its gradient to the master; None for a frozen parameter."""


@dataclass(eq=False)
class MasterWeights(Autocast):
    """16-bit weights with float32 masters, under `torch.autocast`, with the settings of `Autocast`."""

    kept_in_float32: ClassVar[str] = "masters"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.weights: list[Weight] = []
        self.pairs: tuple[list[Tensor], list[Tensor]] = [], []
        """The trained weights in 16 bits and, in the same order, their masters."""

    def setup(self, run: Run) -> None:
        super().setup(run)
        if type(run.parts.parallel) is not Parallel:
            parallel = run.parts.parallel.name
            raise ConfigError(
                f"plugins master_weights and {parallel} cannot work together: {parallel} has to find each gradient in the model; "
                "use amp instead"
            )
        self.convert(run.unwrapped_model)

    def convert(self, model: nn.Module) -> None:
        """Give each weight that is to have a master its master, unless it has one."""
        dtype = getattr(torch, self.dtype)
        product_params, done = find_product_params(model), {weight.param for weight in self.weights}
        for name, param in model.named_parameters():
            if param in done or not self.may_train(name):
                continue
            if param in product_params and param.is_floating_point() and param.dtype != torch.float64:
                self.weights.append(make_weight(name, param, dtype))
            elif param.requires_grad and param.is_floating_point() and param.element_size() < 4:
                self.weights.append(make_weight(name, param, param.dtype))
        self.find_pairs()

    def find_pairs(self) -> None:
        """Collect the trained weights whose master lies elsewhere in memory."""
        trained = [weight for weight in self.weights if weight.hook is not None]
        separate = [weight for weight in trained if weight.param.data_ptr() != weight.master.data_ptr()]
        self.pairs = [weight.param.detach() for weight in separate], [weight.master.detach() for weight in separate]

    def parameters(self, model: nn.Module) -> list[tuple[str, Tensor]]:
        super().parameters(model)
        return self.take_masters()

    def take_masters(self) -> list[tuple[str, Tensor]]:
        """Set `params` to the trained parameters, each in the form of its master if it has one, and return them."""
        masters = {weight.param: weight.master for weight in self.weights}
        self.params = [(name, masters.get(param, param)) for name, param in self.trained]
        return self.params

    def replaced(self, replacements: Sequence[Replacement]) -> Sequence[Replacement]:
        super().replaced(replacements)
        places = {id(weight.param): place for place, weight in enumerate(self.weights)}
        moved = []
        for replacement in replacements:
            place = places.get(id(replacement.old))
            if place is None:
                moved.append(replacement)
                continue
            before = self.weights[place]
            weight = make_weight(before.name, cast(nn.Parameter, replacement.new), replacement.new.dtype)
            if before.hook is not None:
                before.hook.remove()
            weight.master.data = replacement.carried(before.master.detach()).clone()
            self.weights[place] = weight._replace(dtype=before.dtype)
            moved.append(Replacement(before.master, weight.master, replacement.carry))
        return moved

    def follow_parameters(self, run: Run) -> None:
        super().follow_parameters(run)
        present = set(run.unwrapped_model.parameters())
        for place, weight in enumerate(self.weights):
            if weight.param.requires_grad and weight.hook is None:
                weight.master.requires_grad_(True)
                register: Any = weight.param.register_post_accumulate_grad_hook
                self.weights[place] = weight._replace(hook=register(make_gradient_hook(weight.master)))
            elif weight.param not in present and weight.hook is not None:
                weight.hook.remove()
        self.weights = [weight for weight in self.weights if weight.param in present]
        self.convert(run.unwrapped_model)
        self.take_masters()

    def publish(self) -> None:
        if self.pairs[0]:
            torch._foreach_copy_(*self.pairs)

    def unrounded(self, value: Tensor) -> Tensor:
        return next((weight.master.to(weight.dtype) for weight in self.weights if weight.param is value), value)

    def release(self) -> None:
        for weight in self.weights:
            if weight.hook is not None:
                weight.hook.remove()
            weight.param.data = weight.master.detach().to(weight.dtype)  # the master itself, where the dtype is its own
        self.find_pairs()
        self.weights = []

    def plan_notes(self) -> Mapping[str, str]:
        count = sum(weight.param.numel() for weight in self.weights)
        return {**super().plan_notes(), "16-bit weights": f"{count:,} numbers in {len(self.weights)} weights"}

    def ineffective_settings(self, run: Run) -> list[str]:
        messages = super().ineffective_settings(run)
        if not self.weights:
            messages.append("master_weights does what amp does: the model has no linear layer and no convolution in float32")
        return messages

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "masters": {weight.name: weight.master.detach() for weight in self.weights}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict({name: value for name, value in state.items() if name != "masters"})
        for weight in self.weights:
            weight.master.detach().copy_(state["masters"][weight.name])  # the model has its own weights back already, rounded


def make_weight(name: str, param: nn.Parameter, low_dtype: torch.dtype) -> Weight:
    """Convert a parameter to the 16-bit `low_dtype`, and return it with its old value as its float32 master."""
    dtype = param.dtype
    master = nn.Parameter(param.detach().float(), requires_grad=param.requires_grad)
    if low_dtype != dtype:
        param.data = param.detach().to(low_dtype)
    register: Any = param.register_post_accumulate_grad_hook
    return Weight(name, param, master, dtype, register(make_gradient_hook(master)) if param.requires_grad else None)


def make_gradient_hook(master: nn.Parameter) -> Callable[[Tensor], None]:
    """Return a hook that adds the gradient of a 16-bit weight to its master's, in float32, and frees it.

    The first gradient of a window is written instead of added.
    """

    def add(param: Tensor) -> None:
        grad = param.grad
        assert grad is not None
        if master.grad is None:
            master.grad = grad.float()
        else:
            master.grad.add_(grad)
        param.grad = None

    return add
