"""Prune: fewer channels, or more zeros, while the model trains.

mode=channels cuts whole channels out of all layers that they run through, by
Torch-Pruning's graph: through residuals, concatenations, convolutions in groups
and depthwise ones. The model is smaller and faster from the next update on; the
optimiser's state, averages and checkpoints follow. mode=weights makes zeros of
single weights, mode=pattern of all but N of every M, and masks keep them there.

`ratio` of the channels, or weights, is gone after update `end`, in `steps` steps
from `begin` on that become smaller (cubic). Channels go by the magnitude of
their weights, by BatchNorm's scale (network slimming; `l1` draws the scales to
zero until the last cut), or by what the loss owes to them (Taylor).

Helps   models that are larger than they need be, which are to run fast: half of
        the channels are a quarter of the operations. Begin with a trained model
        (`init=RUN`), or prune early and train on.
Hurts   accuracy, until the rest has trained on for a while; small models.
        Zeros alone make nothing faster here, and no file smaller: mode=weights
        and mode=pattern are for engines that make use of them.
Costs   mode=channels: before the run a copy of the model, which is traced, cut on
        trial and timed; a choice and a cut after each step. In an update `l1`
        takes one sum over the scales, Taylor one product per weight while it
        looks on. mode=weights, pattern: a byte per weight, and one pass each
        over weights and gradients. ResNet-18 on a CPU, in seconds of its time
        (one thread, n = 3 to 7): trace 0.35, choice 0.04, cut 0.1; masks over
        all weights 0.4. Per update: masks 0.013, Taylor 0.006, `l1` 0.0002, where
        AdamW's step takes 0.006 and the passes over 16 samples 0.34.
Source  Fang et al., DepGraph, arXiv 2301.12900; Liu et al., Network Slimming,
        arXiv 1708.06519; Molchanov et al., arXiv 1906.10771; the schedule: Zhu
        and Gupta, arXiv 1710.01878; N:M: Mishra et al., arXiv 2104.08378.
Exact   A cut model computes what it would with zeros in the place of what went,
        and trains as if their gradients were zero. So channels that run through
        a LayerNorm stay. What goes is decided by the first rank. The loss that
        is shown has `l1` in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from accel.compress.pruning.channel_pruner import ChannelPruner
from accel.compress.pruning.kept_channels import as_plain, from_plain, merged, still_to_cut
from accel.compress.pruning.model_cut import ModelCut
from accel.compress.pruning.pruning_schedule import find_pruning_updates, resolve_update
from accel.compress.pruning.pruning_settings import find_conflict, unused_settings
from accel.compress.pruning.pruning_trial import PruningTrial
from accel.compress.pruning.weight_masks import read_pattern
from accel.compress.pruning.weight_pruner import WeightPruner
from accel.errors import ConfigError
from accel.parts import Grads, Pruning, Replacement
from accel.parts.shared.name_patterns import matching_some
from accel.system.call_stack import warn_user
from accel.system.machine import Need
from accel.values import Count, Decay, NonNegative

if TYPE_CHECKING:
    from accel.parts import Run, Trial

__all__ = ["SLIMMING_L1", "Prune"]

SLIMMING_L1 = 1e-4
"""Factor of the L1 term in Network Slimming, section 4.2."""


@dataclass(eq=False)
class Prune(Pruning):
    """Pruning of channels or weights after some updates.

    Args:
        mode: channels cuts channels out; weights makes zeros of single weights; pattern of all but N of every M.
        ratio: share of the channels, or weights, that is gone in the end; a pattern has its own.
        importance: by what channels are compared: magnitude of their weights, bn_scale (BatchNorm's), or taylor.
        scope: layer prunes each layer by the ratio; global the least important of all layers together.
        begin: update from which the schedule runs; below 1 a share of the run.
        end: update after which the last go; below 1 a share of the run; 0 prunes before the first update.
        steps: steps of the schedule, evenly spaced from begin to end; a single one is at the end.
        multiple: number of which the channels that stay in a layer are a multiple.
        pattern: N:M; N of every M weights side by side stay (mode=pattern).
        l1: factor of the sum of |weight| in the loss until the last step; null is 1e-4 for bn_scale, else 0.
        taylor_updates: updates before each step whose gradients importance=taylor averages.
        exclude: layers that stay whole, by name or pattern; null for none.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("package:torch_pruning", {"mode": "channels"}, extra="prune"),)

    mode: Literal["channels", "weights", "pattern"] = "channels"
    ratio: Decay = 0.5
    importance: Literal["magnitude", "bn_scale", "taylor"] = "magnitude"
    scope: Literal["layer", "global"] = "layer"
    begin: NonNegative = 0.0
    end: NonNegative = 0.5
    steps: Count = 1
    multiple: Count = 8
    pattern: str = "2:4"
    l1: NonNegative | None = None
    taylor_updates: Count = 20
    exclude: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.follows_length = any(0 < value < 1 for value in (self.begin, self.end))
        n_m = read_pattern(self.pattern) if self.mode == "pattern" else None
        self.final_ratio = 1.0 if n_m else self.ratio
        slimming = self.mode == "channels" and self.importance == "bn_scale"
        self.l1_factor = (SLIMMING_L1 if slimming else 0.0) if self.l1 is None else self.l1
        self.pruner: ChannelPruner | WeightPruner = WeightPruner(n_m, self.scope)
        if self.mode == "channels":
            self.pruner = ChannelPruner(self.importance, self.scope, self.multiple)
        self.saved = ""
        """What is saved in the end, in words, as the trial has measured it."""
        self.pending: dict[str, Any] = {}
        """A state that was loaded before the model was tried out."""
        self.done = -1
        """The update after which the last step was made; -1 before the first."""
        self.follows = False
        """Whether the pruner knows the tensors that the optimiser moves now."""
        self.penalised_weights: list[Tensor] = []
        """The weights whose magnitudes are in the loss."""

    def model(self, model: nn.Module, structure: dict[str, Any] | None) -> nn.Module:
        try:
            self.original = self.pruner.take_model(model, structure)  # before any part changes how it runs
        except ConfigError:
            raise
        except Exception as error:  # whatever the user's objects raise
            why = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            raise ConfigError(f"prune is tried out on a copy of the model, and it cannot be copied ({why})") from error
        return model

    def setup(self, run: Run) -> None:
        begin, end = (resolve_update(f"prune.{name}", getattr(self, name), run.updates) for name in ("begin", "end"))
        self.points = find_pruning_updates(begin, end, self.steps, self.final_ratio)
        self.progress, self.precision = run.progress, run.parts.precision
        if conflict := find_conflict(self, run, min(self.points)):
            raise ConfigError(conflict)

    def explore(self, run: Run, trial: Trial) -> None:
        with trial() as windows:
            window = next(windows, None)
            if window is None:
                return  # the run says that there is no data
            micro = next(iter(window.micros))
            on_copies = PruningTrial(self.original, run.parts.update.user_losses()[0], micro.batch, micro.samples)
            cost = self.pruner.try_out(on_copies, self.excluded(self.original), self.final_ratio)
        del self.original
        if self.mode == "channels" and self.ratio and cost.after.parameters == cost.before.parameters:
            warn_user(
                f"prune has no effect: with prune.ratio={self.ratio:g} each layer keeps its channels, in multiples of "
                f"{self.multiple}; set a larger ratio, or a smaller prune.multiple"
            )
        self.saved = cost.text + ("" if self.mode == "channels" else "; zeros alone make nothing faster here")
        if isinstance(self.pruner, ChannelPruner) and self.importance == "taylor":
            self.pruner.watch_gradients(run.unwrapped_model, run.device)
        self.load_state_dict({"done": self.done, **self.pending})
        self.follow_parameters(run)

    def excluded(self, model: nn.Module) -> set[str]:
        """Return the paths of the layers that stay whole. Raise ConfigError for a pattern that matches none."""
        paths = [path for path, layer in model.named_modules() if path and layer._parameters]
        return {path for pattern in self.exclude or [] for path in matching_some(pattern, paths, "prune.exclude", "layer")}

    def follow_parameters(self, run: Run) -> None:
        params = dict(run.unwrapped_model.named_parameters())
        self.follows = False  # the precision follows later: its tensors are taken in the next update
        names = self.pruner.penalised(run.unwrapped_model) if self.l1_factor and self.progress.step < max(self.points) else []
        self.penalised_weights = [params[name] for name in names if params[name].requires_grad]

    def change(self, run: Run) -> Sequence[Replacement] | None:
        step = run.progress.step
        if step not in self.points or step <= self.done:
            return None
        self.done = step
        tensors = {**dict(run.unwrapped_model.named_parameters()), **dict(run.parts.precision.params)}
        gather = run.parts.parallel.gather
        with run.user_state.follow_change():
            pruned = self.pruner.prune(run.unwrapped_model, tensors, self.points[step], lambda units: gather(units)[0])
        run.parts.precision.publish()
        return [Replacement(*each) for each in pruned]

    def changes_shape(self) -> bool:
        return self.mode == "channels"

    def penalised(self, loss: Tensor) -> Tensor:
        if not self.penalised_weights:
            return loss
        return loss + self.l1_factor * torch.stack(torch._foreach_norm(self.penalised_weights, 1)).sum()

    def before_step(self, grads: Grads) -> None:
        pruner = self.pruner
        if not self.follows:
            pruner.follow(dict(self.precision.params))
            self.follows = True
        if isinstance(pruner, WeightPruner):
            if pruner.weights:
                grads.writable()
                pruner.clear_gradients()
        elif pruner.taylor is not None and any(0 < point - self.progress.step <= self.taylor_updates for point in self.points):
            names = {id(param): name for name, param in self.precision.params}
            pruner.taylor.add({names[id(param)]: param for param in grads.params}, grads.scale, grads.is_skipped())

    def after_step(self) -> None:
        self.pruner.hold()

    def capture_blocker(self) -> str:
        return "prune.importance=taylor looks at the gradients of some updates alone" if self.importance == "taylor" else ""

    def structure(self) -> dict[str, Any]:
        return self.pruner.structure

    @classmethod
    def rebuild(cls, model: nn.Module, structure: dict[str, Any]) -> nn.Module:
        kept, counts = from_plain(structure)
        if still_to_cut(model, kept, counts):
            ModelCut(model, kept).apply(model)
        return model

    @classmethod
    def follow_shipped(cls, model: nn.Module, structure: dict[str, Any]) -> dict[str, Any]:
        return as_plain(*merged(model, *from_plain(structure)))

    def plan_notes(self) -> Mapping[str, str]:
        steps = ", ".join(f"{ratio:.0%} after update {update:,}" for update, ratio in self.points.items())
        what = f"of the {self.mode} go" if self.mode != "pattern" else f"of the blocks are {self.pattern}"
        notes = {"pruning": f"{what}: {steps}"} | ({"left so far": text} if (text := self.pruner.text) else {})
        return notes | ({"pruning, in the end": self.saved} if self.saved else {})

    def summary_notes(self) -> list[str]:
        if self.done < 0:
            return [f"prune has taken nothing away: its first step is after update {min(self.points):,}"]
        sizes = f": {sizes}" if (sizes := self.pruner.largest_change()) else ""
        notes = [f"pruned until update {self.done:,}: left are {self.pruner.text}{sizes}"]
        return notes + [f"pruned, in the end: {self.saved}"] * bool(self.saved and self.done == max(self.points))

    def ineffective_settings(self, run: Run) -> list[str]:
        return unused_settings(self)

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done, **(self.pruner.state_dict() or self.pending)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done = int(state["done"])
        self.pending = {name: value for name, value in state.items() if name != "done"}
        self.pruner.load_state_dict(self.pending, dict(self.precision.params))
        self.follows = False
