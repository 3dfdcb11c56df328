"""Hints: features of a student that are to be those of its teacher, through a projection where their widths differ.

Source: Romero et al., FitNets: Hints for Thin Deep Nets, arXiv 1412.6550, equation 3. The regressor is one linear map per position.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel.compress.distillation.added_parameters import AddedParameters
from accel.compress.distillation.call_recorder import FeatureRecorder
from accel.compress.distillation.soft_targets import widened
from accel.errors import ConfigError, describe, nearest

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["WIDTHS", "Hints", "hint_pairs", "refuse_hints", "width_of"]

WIDTHS = ("out_channels", "out_features", "num_features", "num_channels", "embedding_dim")
"""Attributes in which a layer has the number of its output channels."""


class Hints:
    """Pairs of features, one of the student's and one of the teacher's each, and the projections between them.

    Args:
        student: the student.
        teacher: the teacher.
        pairs: names of modules: of the student's, each with the teacher's that it is to follow.
        seed: seed of the projections, which draw from no generator of the run.

    Raises:
        ConfigError: for a name of no module, and where the layers of one do not tell how wide its output is.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, pairs: Mapping[str, str], seed: int) -> None:
        self.pairs = dict(pairs)
        widths = {of_student: _widths(student, teacher, of_student, of_teacher) for of_student, of_teacher in self.pairs.items()}
        generator = torch.Generator().manual_seed(seed)
        values = dict[str, Tensor]()
        self.projections = dict[str, str]()
        """Names of the parameters of each projection without their ends, by the name of the student's module."""
        for number, (of_student, (width, wanted)) in enumerate(widths.items()):
            if width != wanted:
                bound, stem = 1 / sqrt(width), f"distill_hint{number}"
                self.projections[of_student] = stem
                weight = torch.empty(wanted, width).uniform_(-bound, bound, generator=generator)  # as of nn.Linear
                values |= {
                    f"{stem}_weight": weight,
                    f"{stem}_bias": torch.empty(wanted).uniform_(-bound, bound, generator=generator),
                }
        like = next(student.parameters())
        self.added = AddedParameters(student, {name: value.to(like.device) for name, value in values.items()})
        self.of_student = FeatureRecorder(student, list(self.pairs), with_grad=True)
        self.of_teacher = FeatureRecorder(teacher, list(self.pairs.values()), with_grad=False)
        self.of_teacher.is_recording = True  # it is called for nothing else

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record the features of the student inside."""
        self.of_student.is_recording = True
        try:
            yield
        finally:
            self.of_student.is_recording = False

    def loss(self) -> Tensor:
        """Return the mean squared difference of the features of the last calls, a sum over the pairs, 0-dim, float32 or float64.

        Raises:
            ConfigError: for features that are no tensors, were not computed, or cannot be projected on one another.
        """
        of_student, of_teacher = self.of_student.take(), self.of_teacher.take()
        losses = [self._pair_loss(name, other, of_student.get(name), of_teacher.get(other)) for name, other in self.pairs.items()]
        return torch.stack(losses).sum()

    def _pair_loss(self, name: str, other: str, of_student: Any, of_teacher: Any) -> Tensor:
        for owner, module, feature in (("student", name, of_student), ("teacher", other, of_teacher)):
            if not isinstance(feature, Tensor) or feature.dim() < 2:
                problem = "is not called" if feature is None else f"returns {describe(feature)}"
                raise ConfigError(f"distill.hints: {module} of the {owner} {problem}; name a module that returns a tensor")
        channel = _channel(of_student.shape, of_teacher.shape)
        of_student, of_teacher = of_student.movedim(channel, -1), of_teacher.movedim(channel, -1)
        if name in self.projections:
            weight, bias = (self.added[f"{self.projections[name]}_{end}"] for end in ("weight", "bias"))
            if weight.shape[1] == of_student.shape[-1]:
                of_student = F.linear(of_student, weight, bias)
        if of_student.shape != of_teacher.shape:
            raise ConfigError(
                f"distill.hints: {name} of the student gives {tuple(of_student.shape)}, channels last, and {other} of the teacher "
                f"{tuple(of_teacher.shape)}, which no projection of channels makes equal; name modules at the same place"
            )
        return F.mse_loss(widened(of_student), widened(of_teacher))

    def describe(self) -> str:
        """Return the pairs in words, for the plan."""
        texts = [
            f"{of_student} follows {other}"
            + (
                f" through a projection to {self.added[f'{self.projections[of_student]}_bias'].numel()}"
                if of_student in self.projections
                else ""
            )
            for of_student, other in self.pairs.items()
        ]
        return "; ".join(texts)

    def close(self) -> None:
        """Give both models back as they were."""
        self.added.remove()
        self.of_student.close()
        self.of_teacher.close()


def hint_pairs(given: Any) -> dict[str, str]:
    """Return the setting `hints` as a dict. Raise ConfigError for anything but a dict or a list of names of modules."""
    pairs = (
        {name: name for name in given} if isinstance(given, list | tuple) and all(isinstance(one, str) for one in given) else given
    )
    if not isinstance(pairs, Mapping) or not pairs or not all(isinstance(one, str) for pair in pairs.items() for one in pair):
        raise ConfigError(
            f"distill.hints must be names of modules, such as [layer2], or {{layer2: layer3}} where the teacher's is another, not "
            f"{given!r}"
        )
    return dict(pairs)


def refuse_hints(run: Run) -> None:
    """Raise ConfigError if a part of a run changes what a hint is compared with, or cannot have its projection."""
    parallel = run.parts.parallel
    if parallel.name == "fsdp" and parallel.world_size > 1:
        raise ConfigError("distill.hints and fsdp cannot work together, for it shards the projections' weights; use ddp instead")
    for shape in run.parts.shapes().values():
        if shape.changes_shape():
            raise ConfigError(
                f"distill.hints and {shape.name} cannot work together, for it changes the width of features; leave the hints out"
            )


def width_of(module: nn.Module) -> int | None:
    """Return the channels of a module's output, by the last layer in it that tells its own; None if none does."""
    for layer in reversed(list(module.modules())):
        for attribute in WIDTHS:
            if isinstance(width := getattr(layer, attribute, None), int):
                return width
        if isinstance(shape := getattr(layer, "normalized_shape", None), tuple):
            return int(shape[-1])
    return None


def _widths(student: nn.Module, teacher: nn.Module, of_student: str, of_teacher: str) -> tuple[int, int]:
    """Return the widths of a pair of modules, the student's first."""
    widths = []
    for owner, model, name in (("student", student, of_student), ("teacher", teacher, of_teacher)):
        names = [known for known, _ in model.named_modules() if known]
        if name not in names:
            hint = nearest(name, names) or f"; there is {', '.join(names[:8])}{' ...' * (len(names) > 8)}"
            raise ConfigError(f"distill.hints: the {owner} has no module {name!r}{hint}")
        width = width_of(model.get_submodule(name))
        if width is None:
            raise ConfigError(
                f"distill.hints: no layer in {name} of the {owner} tells how many channels it returns; name the module before it"
            )
        widths.append(width)
    return widths[0], widths[1]


def _channel(of_student: torch.Size, of_teacher: torch.Size) -> int:
    """Return the dimension of the channels: the one in which the shapes differ, or else the second of pictures, or the last."""
    differing = [dim for dim in range(1, min(len(of_student), len(of_teacher))) if of_student[dim] != of_teacher[dim]]
    if len(differing) == 1:
        return differing[0]
    return 1 if len(of_student) >= 4 else -1
