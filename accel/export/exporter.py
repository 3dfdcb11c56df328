"""The export of one run: to any target, each proven before its files are put in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from accel.checkpoints.identity import versions
from accel.compress.quantisation.torchao_pt2e import LayerScales
from accel.compress.quantisation.trained_scales import plain_model, trained_scales
from accel.engine.loading.predict import class_names
from accel.errors import ConfigError
from accel.export.all_targets import TARGETS, make_target, target_class
from accel.export.call.sound_model import require_sound
from accel.export.card import CARD, Card, file_facts
from accel.export.consumer import write_consumer
from accel.export.example import Example, make_example
from accel.export.export_outcome import ExportOutcome, Status
from accel.export.export_settings import CALIBRATION_SAMPLES, ExportSettings
from accel.export.graph_module import GraphModule
from accel.export.pixel_normalisation import PixelNormalisation
from accel.export.proof.allowance import allowance
from accel.export.proof.proof import Proof
from accel.export.proof.prove import model_bytes, prove
from accel.export.proof.timed_torch import TimedTorch
from accel.export.proof.torch_reference import TorchReference
from accel.export.quantisation.calibration_data import calibration_inputs, graph_batches
from accel.export.quantisation.integer_export import IntegerExport
from accel.export.quantisation.mixed_export import mixed_export
from accel.export.quantisation.variant import EIGHT_BITS, setting_of
from accel.export.replaced_folder import replacing_folder
from accel.export.shipped_model import shipped_model
from accel.export.target import Target
from accel.export.tensor_info import TensorInfo
from accel.export.traced import quiet_build
from accel.report.record.export_cells import export_name
from accel.system import disk_errors

__all__ = ["EXPORTS", "Exporter"]

EXPORTS = "export"
"""Folder of a run directory that has a folder for each target."""


class Refused(Exception):
    """An export that does not hold. Raised so that its files are taken away."""

    def __init__(self, proof: Proof, card: Card) -> None:
        super().__init__()
        self.proof, self.card = proof, card


@dataclass
class Exporter:
    """The export of one run.

    Args:
        reference: the torch model of the run, evaluated.
        settings: how it is exported and proven.
        run: the run directory.
    """

    reference: TorchReference
    settings: ExportSettings
    run: Path

    def __post_init__(self) -> None:
        self.normalisation = PixelNormalisation.of(self.reference.request.task.normalisation)
        if self.settings.preprocess and self.normalisation is None:
            raise ConfigError(
                f"preprocess=true: {type(self.reference.request.task).__name__} has no normalisation of pictures to put into the "
                "graph; leave it out, or give the task one: normalisation = {'mean': [...], 'std': [...]}"
            )
        require_sound(self.reference.model, self.reference.call)
        self.model = shipped_model(self.reference.model, self.reference.source.structure, self.reference.call)
        self.plain, self.scales = self._of_integers()
        self.timed: TimedTorch | None = None

    def _of_integers(self) -> tuple[nn.Module, dict[str, LayerScales]]:
        """Return the model whose graph is exported, and the scales of its layers if they were trained and are to be kept.

        Raises:
            ConfigError: if they were trained, and the settings want others.
        """
        scales = trained_scales(self.model)
        self.rounds, variant = bool(scales), self.settings.variant
        if not scales or variant == "float32":
            return self.model, {}
        if variant != "static":
            raise ConfigError(f"{setting_of(variant)}: the run was trained in 8 bits by qat; quantize=static ships its integers")
        for name in ("calibrate", "samples"):
            if (value := getattr(self.settings, name)) is not None:
                raise ConfigError(f"{name}={value} has no effect: the run was trained in 8 bits by qat, and its ranges are taken")
        return plain_model(self.model), scales

    def _cannot_ship(self, target: Target) -> str:
        """Return why a target cannot take the scales that were trained; empty if it can, or there are none."""
        if not self.scales or target.mixes:
            return ""
        others = [kind.name for kind in map(target_class, TARGETS) if kind.mixes and "static" in kind.variants]
        known = f"the run was trained in 8 bits by qat, and target={target.name} takes other ranges"
        return f"{known}; {', '.join(others)} ship its integers"

    def export(self, name: str) -> ExportOutcome:
        """Export to a target: built, loaded anew, proven, and put in its place if it holds.

        Raises:
            ConfigError: if it cannot be built or run, or the disk does not take it.
        """
        target, variant = make_target(name, self.settings.of_targets), self.settings.variant
        if missing := target.unable(variant) or self._cannot_ship(target) or target.missing(self.settings.proof.python):
            return ExportOutcome(name, "not run", missing, variant=variant)
        folder = self.run / EXPORTS / export_name(name, variant)
        try:
            with replacing_folder(folder, CARD, "export") as new:
                try:
                    card, proof = self._proven_build(target, new)
                except ConfigError:
                    disk_errors.require_room(new, model_bytes(self.model))
                    raise
                if proof is not None and not proof.holds:
                    raise Refused(proof, card)
        except Refused as refusal:
            reason = "; ".join(refusal.proof.problems)
            return ExportOutcome(name, "refused", reason, refusal.proof, None, variant, refusal.card.quantisation)
        except OSError as error:
            where, reason = error.filename or folder, disk_errors.disk_reason(error)
            raise ConfigError(f"{where} cannot be written ({reason}); {disk_errors.remedy(error)} its disk") from None
        status: Status = "not run" if proof is None else "holds"
        return ExportOutcome(name, status, "" if proof else target.cannot_run(), proof, folder, variant, card.quantisation)

    def check(self, folder: Path) -> ExportOutcome:
        """Prove the export in a folder, which is left as it is. Raise ConfigError if it is none, or cannot be run."""
        card = Card.read(folder)
        example = self._example(card.batch)
        expected = self._card(make_target(card.target), example, folder)
        other_classes = card.classes if card.classes != expected.classes else []
        other_names = card.tensor_names if card.tensor_names != expected.tensor_names else []
        proof = replace(self._prove(folder, card, example), other_classes=other_classes, other_names=other_names)
        status: Status = "holds" if proof.holds else "refused"
        return ExportOutcome(card.target, status, "; ".join(proof.problems), proof, folder, card.variant, card.quantisation)

    def _proven_build(self, target: Target, folder: Path) -> tuple[Card, Proof | None]:
        """Write files with their card into a folder. Return the card, and their proof if this machine runs them."""
        card, proof = self._made(target, folder)
        card.proof = {} if proof is None else proof.as_dict()
        card.write(folder)
        return card, proof

    def _made(self, target: Target, folder: Path) -> tuple[Card, Proof | None]:
        """Write files into a folder; return their card, and their proof if this machine runs them."""
        example = self._example(target.batch or (1 if self.settings.dynamic == "none" else None))
        inside = self.normalisation if self.settings.preprocess else None
        given = example if inside is None else with_pixels(example, inside)
        graph = GraphModule(self.plain, example, inside).eval()
        if target.variant not in EIGHT_BITS:
            card = self._build(target, graph, given, folder)
            return card, None if target.cannot_run() else self._prove(folder, card, example)
        return self._made_of_integers(target, graph, example, given, folder)

    def _made_of_integers(
        self, target: Target, graph: GraphModule, example: Example, given: Example, folder: Path
    ) -> tuple[Card, Proof | None]:  # fmt: skip
        """Write files whose layers are integers, as many as let the export hold."""
        integer = IntegerExport(target, graph, given, self.settings.calibrate, self._batches(given), self.scales)
        cards: list[Card] = []

        def build(floats: Sequence[str]) -> Card:
            target.quantisation = integer.quantisation([name for name in layers if name not in floats])
            for file in folder.iterdir():
                file.unlink()
            cards.append(self._build(target, graph, given, folder))
            return cards[-1]

        def attempt(floats: Sequence[str], timed: bool) -> Proof:
            return self._prove(folder, build(floats), example, timed)

        with quiet_build(target.name):
            layers = integer.layers
            if self.settings.sensitivity:
                integer.measure()
        if target.cannot_run():
            return replace(build(()), quantisation=integer.card(())), None
        proof, floats = mixed_export(attempt, integer.measure)
        return replace(cards[-1], quantisation=integer.card(floats)), proof

    def _batches(self, given: Example) -> tuple[tuple[Tensor, ...], ...]:
        """Return the inputs by which ranges are known and layers measured: training samples, or held-out ones without ranges."""
        calibrated = self.settings.variant == "static" and not self.scales
        calls = self.calibration if calibrated else [self.reference.call.inputs]
        sizes = given.input_infos[0].shape
        return graph_batches(
            calls, self.normalisation if self.settings.preprocess else None, sizes[0] if isinstance(sizes[0], int) else None
        )

    @cached_property
    def calibration(self) -> list[tuple[Tensor, ...]]:
        """Inputs of the model for training samples. Raise ConfigError if there are none."""
        return calibration_inputs(
            self.reference, self.settings.samples or CALIBRATION_SAMPLES, self.reference.request.settings.seed
        )

    def _build(self, target: Target, graph: GraphModule, given: Example, folder: Path) -> Card:
        """Write files into a folder, and return their card."""
        with quiet_build(target.name):
            target.build(graph, given, folder)
        if target.has_consumer:
            write_consumer(folder)
        return self._card(target, given, folder)

    def _example(self, batch: int | None) -> Example:
        return make_example(self.reference.model, self.reference.call, self.settings.dynamic, batch)

    def _prove(self, folder: Path, card: Card, example: Example, timed: bool = True) -> Proof:
        if self.timed is None:  # it is compiled once for all targets
            self.timed = TimedTorch(GraphModule(self.model, example).eval())
        settings = self.settings.proof if timed else replace(self.settings.proof, seconds=0)
        allowed = allowance(settings, target_class(card.target), card.variant, self.rounds)
        return replace(prove(folder, card, self.reference, self.timed, settings, allowed), rounds=self.rounds)

    def _card(self, target: Target, example: Example, folder: Path) -> Card:
        """Return the card of files that were built, without their proof."""
        classes = class_names(self.reference.request.task)
        scores = example.output_infos[0].shape
        known = versions(torch.device("cpu"))
        return Card(
            target=target.name, file=target.file, files=file_facts(folder), inputs=list(example.input_infos),
            outputs=list(example.output_infos), arguments=example.arguments, structure=example.structure,
            batch=target.batch or (1 if self.settings.dynamic == "none" else None),
            normalisation=None if self.normalisation is None else self.normalisation.as_dict(),
            preprocessing="graph" if self.settings.preprocess else "caller",
            classes=classes if len(scores) == 2 and scores[-1] == len(classes) else [], weights=self.reference.source.text,
            variant=target.variant, versions={name: known[name] for name in ("accel", "torch", "python")},
        )  # fmt: skip


def with_pixels(example: Example, normalisation: PixelNormalisation) -> Example:
    """Return an example whose first input are the pixels, (n, height, width, channels) uint8, that it was made of."""
    pixels = torch.from_numpy(normalisation.restore(example.inputs[0]))
    first = example.input_infos[0]
    samples, channels, height, width = first.shape
    info = TensorInfo(first.name, (samples, height, width, channels), "uint8")
    return replace(example, inputs=(pixels, *example.inputs[1:]), input_infos=(info, *example.input_infos[1:]))
