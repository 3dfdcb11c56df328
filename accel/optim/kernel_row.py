"""What one call of a fused kernel moves."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from accel.device.dtensor import Placement


class KernelRow(NamedTuple):
    """What one call of the kernel moves: the parameters of one group on one device in one format."""

    group: dict[str, Any]
    params: list[Tensor]
    """Those of the user: what has the gradients."""
    tensors: list[Tensor]
    """What is moved: the parameters, or the pieces of them that this process has, in the same memory."""
    state: list[list[Tensor]]
    """One list for each name that `Fused.state_names` gives for the group, as long as `params`; of what is spread, the pieces."""
    counter: Tensor | None = None
    """The step counters in one tensor, of which those in `state` are views."""
    weights: Tensor | None = None
    """The weights of the first moments likewise, where beta1 is cycled."""
    excluded: bool = False
    """Whether its parameters are biases or of norms, in a group that leaves these out (`exclude`)."""
    placement: Placement = Placement()
    """How all of its parameters are spread over processes."""
    plan: Any = None
    """What `Fused.plan` made of it."""
    addresses: tuple[int, ...] = ()
    """Where in memory `tensors` began when the plan was made."""

    @property
    def stale(self) -> bool:
        """Whether parameters were given other memory (`param.data = ...`) since the plan was made."""
        return self.plan is not None and self.addresses != tuple([tensor.data_ptr() for tensor in self.tensors])

    @property
    def on_host(self) -> bool:
        """Whether it is whole, in the memory of the host, so that reading a number waits for nobody."""
        return self.placement.mesh is None and self.tensors[0].device.type == "cpu"

    def subset(self, there: list[int]) -> KernelRow:
        """The row with the parameters at these places alone."""
        params, tensors = [self.params[i] for i in there], [self.tensors[i] for i in there]
        state = [[values[i] for i in there] for values in self.state]
        return self._replace(params=params, tensors=tensors, state=state, counter=None, weights=None, plan=None)


def host_value(tensor: Tensor | None, otherwise: float) -> float:
    """What stands in a 0-dim tensor in the memory of the host: reading it waits for nobody."""
    return otherwise if tensor is None else float(tensor.tolist())  # type: ignore[arg-type]
