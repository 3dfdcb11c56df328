"""What is trained: the methods that a subclass of Trainer defines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from accel.checkpoints.weights.weight_names import unwrap
from accel.errors import ConfigError
from accel.parts.loss_output import loss_metrics
from accel.parts.shared.model_output import computes_loss, unpack_output

__all__ = ["Task"]


class Task:
    """Model, data, loss and metrics of a run: methods, each of which may be given as an argument of `Trainer` instead."""

    given: dict[str, Any]
    """Arguments of `Trainer` that stand for methods, by name; None for those that were not given."""
    evaluates: str | tuple[str, ...] = "val"
    """Split that `data(split)` is asked for in evaluation, or several. Results are named after it."""
    aside: ClassVar[tuple[str, ...]] = ("root", "path")
    """Arguments of a subclass that do not change what is computed, such as where data lies: a resumed run may have others."""
    collate: Callable[[list[Any]], Any] | None = None
    """Function or method that makes a batch of a list of samples."""
    evaluated: Callable[[dict[str, float]], Any] | None = None
    """Function or method that is given the metrics of each evaluation, all batches together, and may return a dict to add."""
    made_with: dict[str, Any]
    """Arguments of a subclass, by name, without those that `Trainer` has."""
    called_with: dict[str, Any]
    """The same with those of the subclass that have the name of one of `Trainer`'s."""
    suffixes: ClassVar[frozenset[str] | None] = None
    """Suffixes of the files that `python -m accel predict` takes from a folder, in small letters, with their dots; None for all."""
    normalisation: ClassVar[Mapping[str, Any] | None] = None
    """What a model of pictures is given, for an export: `mean` and `std` of each channel, of values from 0 to 1. Its first input,
    (n, channels, height, width) float32, is made of 8-bit pictures by them. None for any other input."""
    saved_metadata: Mapping[str, Any] | None = None
    """What `metadata` returned in the run that this task is loaded from, so that no training data is needed; None to train."""
    record_folder: Path | None = None
    """The directory of the run that this task is made again from, with its `record_files`, whether or not it opens data; None to
    train. It is set once the task is made, before its model, its data or a sample is asked for."""

    def model(self) -> nn.Module:
        """Return the module to train, freshly initialised. Called once, after seeding."""
        model: nn.Module = self._given("model")
        return model

    def data(self, split: str) -> Any:
        """Return the data of `split`: `"train"`, or the name in `evaluates` (None for no evaluation)."""
        return self._given("data") if split == "train" else self.given["val"]

    def loss(self, model: nn.Module, batch: Any) -> Any:
        """Return the loss of one batch: a mean over it, or `(mean, n_items)`; a dict after them, `{name: number}`, is logged.

        An output of the model that has its loss, as those of transformers have, stands for that and the tokens that count. Where no
        loss is given, a model that takes the `labels` in a batch is called with that.
        """
        if self.given["loss"] is None and computes_loss(unwrap(model), batch):
            return model(**batch)
        return self._given("loss")(model, batch)

    def metrics(self, model: nn.Module, batch: Any) -> Any:
        """Return the metrics of one batch in evaluation: a dict of means over the batch, `(sum, count)` or metric objects."""
        given = self.given["metrics"]
        if given is None and type(self).objectives is not Task.objectives:
            raise ConfigError(
                f"{type(self).__name__} has objectives, and no metrics to evaluate by: define metrics(model, batch), or give no "
                "data to evaluate on"
            )
        return loss_metrics(unpack_output(self.loss(model, batch), model, batch)) if given is None else given(model, batch)

    def logits_of(self, outputs: Any, batch: Any) -> Any:
        """Return the logits that a teacher's are compared with, (..., classes), or (logits, counted), with which of them count.

        None, or undefined, lets `distill` find them: in the one call that the loss makes of the model, without labels of -100.

        Args:
            outputs: what the model, or a teacher, returned to the loss; a list where the loss called it several times.
            batch: the batch.
        """

    def ask_teacher(self, teacher: nn.Module, calls: Any, batch: Any) -> Any:
        """Return what a teacher (`distill`) says of a batch, in the form of the model's own outputs.

        None, or undefined, gives it the arguments that the loss gave to the model.

        Args:
            teacher: the model to ask, in evaluation mode.
            calls: the calls that the loss made of the model, each with `args`, `kwargs` and `output`.
            batch: the batch.
        """

    def objectives(self, model: nn.Module) -> Any:
        """Return losses that have optimisers of their own, in order: a list of `accel.Minimize`; None, or undefined: one loss.

        Args:
            model: the model, on the device of the run.
        """

    def count_samples(self, batch: Any) -> Any:
        """Return the number of samples in a batch, by which windows, ranks and evaluation weigh it; None lets accel count."""
        return self.given["count_samples"] and self.given["count_samples"](batch)

    def identity(self) -> dict[str, Any]:
        """Return what a resumed run must have in common with this one beside its plugins: the subclass's arguments, by name."""
        return {name: value for name, value in self.made_with.items() if name not in self.aside}

    def get_extra_state(self) -> Any:
        """Return what a resumed run needs of this task beside attributes and modules that are kept anyway, as plain values."""

    def set_extra_state(self, state: Any) -> None:
        """Take what `get_extra_state` returned; tensors are on the CPU. Not called if that was None."""

    def metadata(self) -> dict[str, Any]:
        """Return what is known from the data and a loaded model needs, as plain values, which the run directory keeps.

        `classes` are the names of the classes, in the order of the scores: here the task's `classes`, if it has names.
        """
        classes = getattr(self, "classes", None)
        named = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
        return {"classes": list(classes)} if named and classes else {}

    def record_files(self) -> dict[str, str]:
        """Return texts that the run directory keeps as files, such as those of a tokenizer, by their paths in it."""
        return {}

    def calibration_data(self) -> Any:
        """Return the training data as evaluation shows it, for an export to 8 bits; None, or undefined, for `data("train")`."""

    def sample_of(self, path: str) -> Any:
        """Return the sample in a file, as `predict` takes it in batches. Raise OSError or BadSample if it cannot be read."""
        raise ConfigError(f"{type(self).__name__} does not say how a file is read: define sample_of(path), which returns a sample")

    def predict(self, model: nn.Module, batch: Any) -> Any:
        """Return the predictions of a batch of what `sample_of` returns: scores (n, classes), numbers (n, ...), or n dicts."""
        return model(batch)

    def _given(self, name: str) -> Any:
        if self.given[name] is None:
            raise ConfigError(f"{type(self).__name__} has no {name}: pass {name}=..., or define {name}() in a subclass")
        return self.given[name]
