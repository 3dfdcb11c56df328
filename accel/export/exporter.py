"""The export of one run: to any target, each proven before its files are put in their place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from accel.checkpoints.identity import versions
from accel.engine.loading.predict import class_names
from accel.errors import ConfigError
from accel.export.all_targets import make_target, target_class
from accel.export.call.sound_model import require_sound
from accel.export.card import CARD, Card, file_facts
from accel.export.consumer import write_consumer
from accel.export.example import Example, make_example
from accel.export.export_outcome import ExportOutcome
from accel.export.export_settings import ExportSettings
from accel.export.graph_module import GraphModule
from accel.export.pixel_normalisation import PixelNormalisation
from accel.export.proof.proof import Proof
from accel.export.proof.prove import model_bytes, prove
from accel.export.proof.timed_torch import TimedTorch
from accel.export.proof.torch_reference import TorchReference
from accel.export.replaced_folder import replacing_folder
from accel.export.shipped_model import shipped_model
from accel.export.target import Target
from accel.export.tensor_info import TensorInfo
from accel.export.traced import quiet_build
from accel.system import disk_errors

__all__ = ["EXPORTS", "Exporter"]

EXPORTS = "export"
"""Folder of a run directory that has a folder for each target."""


class Refused(Exception):
    """An export that does not hold. Raised so that its files are taken away."""

    def __init__(self, proof: Proof) -> None:
        super().__init__()
        self.proof = proof


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
        self.timed: TimedTorch | None = None

    def export(self, name: str) -> ExportOutcome:
        """Export to a target: built, loaded anew, proven, and put in its place if it holds.

        Raises:
            ConfigError: if it cannot be built or run, or the disk does not take it.
        """
        target = make_target(name, self.settings.of_targets)
        if missing := target.missing(self.settings.proof.python):
            return ExportOutcome(name, "not run", missing)
        folder = self.run / EXPORTS / name
        try:
            with replacing_folder(folder, CARD, "export") as new:
                try:
                    proof, reason = self._proven_build(target, new)
                except ConfigError:
                    disk_errors.require_room(new, model_bytes(self.model))
                    raise
                if proof is not None and not proof.holds:
                    raise Refused(proof)
        except Refused as refusal:
            return ExportOutcome(name, "refused", "; ".join(refusal.proof.problems), refusal.proof)
        except OSError as error:
            where, reason = error.filename or folder, disk_errors.disk_reason(error)
            raise ConfigError(f"{where} cannot be written ({reason}); {disk_errors.remedy(error)} its disk") from None
        return ExportOutcome(name, "not run" if reason else "holds", reason, proof, folder)

    def check(self, folder: Path) -> ExportOutcome:
        """Prove the export in a folder, which is left as it is. Raise ConfigError if it is none, or cannot be run."""
        card = Card.read(folder)
        example = self._example(card.batch)
        proof = self._prove(folder, card, example)
        return ExportOutcome(card.target, "holds" if proof.holds else "refused", "; ".join(proof.problems), proof, folder)

    def _proven_build(self, target: Target, folder: Path) -> tuple[Proof | None, str]:
        """Write files with their card into a folder. Return their proof, or None and why they cannot be run here."""
        card, example = self._build(target, folder)
        reason = target.cannot_run()
        proof = None if reason else self._prove(folder, card, example)
        card.proof = {} if proof is None else proof.as_dict()
        card.write(folder)
        return proof, reason

    def _build(self, target: Target, folder: Path) -> tuple[Card, Example]:
        """Write files into a folder, and return their card and the call that they were made by."""
        example = self._example(target.batch or (1 if self.settings.dynamic == "none" else None))
        inside = self.normalisation if self.settings.preprocess else None
        given = example if inside is None else with_pixels(example, inside)
        with quiet_build(target.name):
            target.build(GraphModule(self.model, example, inside).eval(), given, folder)
        if target.has_consumer:
            write_consumer(folder)
        return self._card(target, given, folder), example

    def _example(self, batch: int | None) -> Example:
        return make_example(self.reference.model, self.reference.call, self.settings.dynamic, batch)

    def _prove(self, folder: Path, card: Card, example: Example) -> Proof:
        if self.timed is None:  # it is compiled once for all targets
            self.timed = TimedTorch(GraphModule(self.model, example).eval())
        return prove(folder, card, self.reference, self.timed, self.settings.proof, target_class(card.target).tolerance)

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
            versions={name: known[name] for name in ("accel", "torch", "python")},
        )  # fmt: skip


def with_pixels(example: Example, normalisation: PixelNormalisation) -> Example:
    """Return an example whose first input are the pixels, (n, height, width, channels) uint8, that it was made of."""
    pixels = torch.from_numpy(normalisation.restore(example.inputs[0]))
    first = example.input_infos[0]
    samples, channels, height, width = first.shape
    info = TensorInfo(first.name, (samples, height, width, channels), "uint8")
    return replace(example, inputs=(pixels, *example.inputs[1:]), input_infos=(info, *example.input_infos[1:]))
