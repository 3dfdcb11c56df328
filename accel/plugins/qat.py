"""QAT: quantisation-aware training, so that the model can be shipped in integers of 8 bits.

After update `begin`, convolutions and Linear compute with inputs and weights on
the levels that integers have, and train the floats behind them. Each filter has a
scale of its own. Inputs have one for the layer, from a moving average of their
range, or a histogram. After update `freeze` ranges and the statistics of BatchNorm
stand still. Until `begin` the run is the same to the bit as without the plugin.

The run directory has the integers in `shipped.safetensors`, BatchNorms folded in.
`accel.compress.pt2e_model` makes of them the graph of torchao's `convert_pt2e`,
with the same integers, which engines lower to kernels of 8 bits.

Helps   size on disk: a byte for each weight, and four for each filter; and the
        accuracy of what is shipped, beside quantising after the training.
Hurts   the speed of training. What is shipped is no faster in eager mode: torch
        has no products of integers there, and computes with floats on the levels.
Costs   in each update a pass over inputs and weights of these layers, three over
        inputs while ranges are observed, and the levels of each, floats, which
        stay until the backward pass. Several ranks exchange two numbers for each
        layer and rank. Before the run one batch goes through `torch.export`.
        Seven convolutions with BatchNorm on one core: 1.41 times the update, 1.39
        times the memory in it (2026-11-30, n = 8, bounds 1.31 to 1.52).
Source  Jacob et al., arXiv 1712.05877, sections 2 and 3; Krishnamoorthi, arXiv
        1806.08342, for filters of their own scale and norms that are frozen late.
        torchao 0.18: `MovingAverageMinMaxObserver`, `HistogramObserver`,
        `prepare_pt2e` and `convert_pt2e`, to whose integers these are equal.
Exact   Evaluations compute what is shipped, to the rounding of norms that are
        folded in, by which an input at the border of two levels may come to the
        other side. A range is that of the whole window, over all ranks: it is the
        one of the big batch. Histograms are the first rank's, and read numbers on
        the host. Weights have levels in the first update after `begin`, and inputs
        in the second, when ranges are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor, nn

from accel.compress.pruning.pruning_schedule import resolve_update
from accel.compress.quantisation.choose_quantised import QuantisedChoice, choose_quantised
from accel.compress.quantisation.first_call import called_layers
from accel.compress.quantisation.input_quantiser import InputQuantiser, fold_ranges, take_histograms
from accel.compress.quantisation.integer_model import integer_model, place_integers
from accel.compress.quantisation.quantised_layer import place_quantised, quantisers_of, set_frozen, without_quantised
from accel.errors import ConfigError, listed
from accel.parts import Quantisation, Replacement, Shipped
from accel.parts.shared.name_patterns import matching_some
from accel.system.machine import Need
from accel.values import NonNegative

if TYPE_CHECKING:
    from accel.parts import Run, Trial

__all__ = ["QAT"]


@dataclass(eq=False)
class QAT(Quantisation):
    """Fake quantisation of convolutions and Linear to 8 bits.

    Args:
        begin: update after which layers compute in 8 bits, and ranges are observed; below 1 a share of the run.
        freeze: update after which ranges and BatchNorm's statistics stand still; below 1 a share of the run; null for never.
        observer: range of inputs: moving_average of their ends, or histogram, which leaves out what is rare.
        inputs: integers of inputs: uint8 as torchao's X86InductorQuantizer has them, or int8 as XNNPACK's.
        keep: patterns for layers that stay in floats; null keeps none.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("package:torchao", extra="qat"),)

    begin: NonNegative = 0.0
    freeze: NonNegative | None = 0.75
    observer: Literal["moving_average", "histogram"] = "moving_average"
    inputs: Literal["uint8", "int8"] = "uint8"
    keep: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.follows_length = any(0 < value < 1 for value in (self.begin, self.freeze or 0.0))
        self.chosen = QuantisedChoice([], {})
        self.original: nn.Module | None = None
        """A copy of the model, which no part has changed, to be captured."""
        self.is_placed = self.is_frozen = False
        self.quantisers: list[InputQuantiser] = []
        """Those that observe."""

    def model(self, model: nn.Module, structure: dict[str, Any] | None) -> nn.Module:
        known = structure or {}
        if known.get("integers"):
            raise ConfigError(
                f"{self.name}: the weights that the run begins with are integers, which cannot be trained; begin with the run that "
                "made them, by init=RUN in place of its shipped.safetensors"
            )
        if known:
            self.go_on(known)
            return model
        try:
            self.original = deepcopy(model)
        except Exception as error:  # whatever the user's objects raise
            why = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            raise ConfigError(f"{self.name} captures a copy of the model, and it cannot be copied ({why})") from error
        return model

    def go_on(self, structure: dict[str, Any]) -> None:
        """Take over layers that are in 8 bits already. Raise ConfigError if the settings want others."""
        for name in ("inputs", "observer"):
            if getattr(self, name) != structure[name]:
                raise ConfigError(
                    f"{self.name}.{name}={getattr(self, name)}: the weights that the run begins with were trained with "
                    f"{structure[name]}; set plugins.{self.name}.{name}={structure[name]}"
                )
        self.chosen = QuantisedChoice(list(structure["layers"]), {})
        self.is_placed, self.is_frozen = True, structure["frozen"]

    def setup(self, run: Run) -> None:
        self.first = resolve_update(f"{self.name}.begin", self.begin, run.updates)
        self.last = None if self.freeze is None else resolve_update(f"{self.name}.freeze", self.freeze, run.updates)
        if self.last is not None and self.last <= self.first:
            if self.changed("freeze"):
                raise ConfigError(
                    f"{self.name}.freeze={self.freeze:g} is not after {self.name}.begin={self.begin:g}, and no range would be "
                    "known; set a later one, or null"
                )
            self.last = None  # a run of few updates
        self.parallel = run.parts.parallel

    def explore(self, run: Run, trial: Trial) -> None:
        if self.original is None:
            return
        with trial() as windows:
            window = next(windows, None)
            if window is None:
                return  # the run says that there is no data
            loss, batch = run.parts.update.user_losses()[0], next(iter(window.micros)).batch
            copy = self.original.eval()
            try:
                calls = called_layers(copy, loss, batch)
                kept = {name for pattern in self.keep or [] for name in matching_some(pattern, list(calls), "keep", "layer")}
                self.chosen = choose_quantised(copy, calls, kept)
            except ConfigError as error:
                raise ConfigError(f"{self.name}{'.' if str(error).startswith('keep: ') else ': '}{error}") from error
        self.original = None
        for name in self.chosen.layers:
            if "forward" in vars(run.unwrapped_model.get_submodule(name)):
                raise ConfigError(
                    f"{self.name}: {name} is compiled or computed again for itself, and would not be quantised; keep it in floats: "
                    f"{self.name}.keep=[{name}]"
                )

    def change(self, run: Run) -> Sequence[Replacement] | None:
        step = run.progress.step
        for quantiser in self.quantisers:
            quantiser.seen.clear()  # of an evaluation in training mode
        freezes = self.last is not None and step >= self.last
        moves = self.observer == "histogram" and self.is_placed and not self.is_frozen
        due = moves and (freezes or is_power_of_two(step - self.first))
        if not self.chosen.layers or step < self.first or (self.follows(freezes) and not due):
            return None
        with run.user_state.follow_change():
            place_quantised(run.unwrapped_model, self.chosen.layers, self.inputs, self.observer)
            if due:
                take_histograms(list(quantisers_of(run.unwrapped_model).values()), lambda values: self.parallel.gather(values)[0])
            self.quantisers = set_frozen(run.unwrapped_model, freezes)
        self.is_placed, self.is_frozen = True, freezes
        return []

    def follows(self, freezes: bool) -> bool:
        """Return whether the model is what it is to be in the next update."""
        return self.is_placed and self.is_frozen == freezes and (freezes or bool(self.quantisers))

    def changes_shape(self) -> bool:
        return False

    def after_backward(self) -> None:
        if self.quantisers and self.observer == "moving_average":
            fold_ranges(self.quantisers, self.lowest_of_ranks)

    def lowest_of_ranks(self, numbers: Tensor) -> Tensor:
        """Return the lowest of each number over all ranks, (n,)."""
        if self.parallel.world_size == 1:
            return numbers
        table = numbers.new_zeros(self.parallel.world_size, len(numbers))
        table[self.parallel.rank] = numbers
        return self.parallel.sum(table).amin(0)

    def structure(self) -> dict[str, Any]:
        if not self.is_placed:
            return {}
        return {"layers": self.chosen.layers, "inputs": self.inputs, "observer": self.observer, "frozen": self.is_frozen}

    @classmethod
    def rebuild(cls, model: nn.Module, structure: dict[str, Any]) -> nn.Module:
        layers = structure["layers"]
        try:
            if structure.get("integers"):
                return place_integers(model, layers, structure["inputs"], structure["norms"])
            place_quantised(model, layers, structure["inputs"], structure["observer"])
        except (AttributeError, KeyError, StopIteration) as error:
            raise ConfigError(
                f"it has layers of 8 bits, such as {layers[0] or 'the model itself'}, and this model has no such layer; give the "
                "model of the run"
            ) from error
        set_frozen(model, structure["frozen"])
        return model

    @classmethod
    def undone(cls, model: nn.Module) -> nn.Module:
        return without_quantised(model)

    @classmethod
    def ship(cls, model: nn.Module, structure: dict[str, Any]) -> Shipped:
        if structure.get("integers"):
            return Shipped(model, structure)
        model, layers, norms = integer_model(model)
        inner = {"layers": layers, "inputs": structure["inputs"], "norms": norms, "integers": True}
        return Shipped(model, inner)

    def capture_blocker(self) -> str:
        return f"{self.name}.observer=histogram reads numbers on the host" if self.observer == "histogram" else ""

    def plan_notes(self) -> Mapping[str, str]:
        if not self.chosen.layers:
            return {}
        left = [f"{name}, which {reason}" for name, reason in self.chosen.left.items()]
        kept = f"; in floats: {listed(left, 2)}" if left else ""
        still = "" if self.last is None else f", ranges and norms stand still after update {self.last:,}"
        return {"qat": f"{len(self.chosen.layers)} layers in 8 bits after update {self.first:,}{still}{kept}"}

    def summary_notes(self) -> list[str]:
        if self.is_placed or not self.chosen.layers:
            return []
        return [f"{self.name} has quantised nothing: it begins after update {self.first:,}"]


def is_power_of_two(number: int) -> bool:
    """Return whether a number is 1, 2, 4 and so on."""
    return number > 0 and number & (number - 1) == 0
