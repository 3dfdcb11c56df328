"""Distill: a trained teacher's soft targets beside the loss, for a smaller student.

The loss becomes (1 - weight) times the task's own plus weight times T^2 KL(p ||
q), where p and q are the softmax of the teacher's and of the student's logits
over the temperature T. It is a mean over the same samples or tokens. The loss
is called as ever: a hook on the model sees what goes in and what comes out, so
that the student is computed once, and the teacher is given the very same
(augmented, mixed) input. Evaluation does without the teacher.

A teacher is a run directory, a file of weights, or several of them, whose
probabilities are averaged. With teacher=self the run trains its own: it becomes
the teacher of the next, generations times (born-again networks). Those before
the last are in OUT/generations. Hints let features of the student follow those
of the teacher; the projection between widths is trained, and is no part of the
saved model. task.unlabelled adds pictures that the teacher alone labels.

Helps   small models: the teacher says which mistakes are near misses. On 10,000
        pictures of CIFAR-10, six epochs, half the width gains 2.8 points: 57.0
        % beside 54.2 (n = 3 each, spread 1.9 and 0.8).
Hurts   where the teacher is hardly better than the student, and short runs with
        nearly nothing but soft targets: temperature=4, weight=0.9 (Tian et al.)
        lost a point there (n = 1).
Costs   a forward pass of the teacher per micro-batch: 51 ms an update, with or
        without hints, 35 without a teacher, 38 where all comes from memory; 2
        MB at the peak, 12 with hints, 46 with the trial of that memory
        (processor time, bfloat16, batch 128 of 32 x 32, 9 k and 33 k weights,
        medians of n = 5).
Source  Hinton et al., arXiv 1503.02531 (T^2, section 2). Teacher annealing:
        Clark et al., 1907.04829. Born-again: Furlanello et al., 1805.04770.
        Hints: FitNets, Romero et al., 1412.6550. One input for both: Beyer et
        al., 2106.05237. Tian et al.: 1910.10699.
Exact   The soft part is F.kl_div of the logits in float32, to the bit, whatever
        the precision around it. Accumulation weighs it as the loss. What comes
        from memory has the teacher's bits, as the first batch shows. A resumed
        run is told if a teacher has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from accel.compress.distillation.added_parameters import ADDED
from accel.compress.distillation.call_recorder import Call, CallRecorder
from accel.compress.distillation.find_logits import Logits, check_classes, check_items, find_logits, outputs_of, read_logits
from accel.compress.distillation.hints import Hints, hint_pairs, refuse_hints
from accel.compress.distillation.load_teachers import SELF, has_channels_last, load_teachers, teacher_names
from accel.compress.distillation.output_cache import OutputCache
from accel.compress.distillation.soft_targets import soft_loss, soft_targets
from accel.compress.distillation.teacher import Teacher, teacher_dtype
from accel.errors import ConfigError, listed
from accel.parts import Objective
from accel.parts.parallel import NOTHING
from accel.values import Count, Fraction, NonNegative, Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Distill"]


@dataclass(eq=False)
class Distill(Objective):
    """Soft targets of one or several teachers, hints between features, and teacher annealing.

    Args:
        teacher: run directory or .safetensors file, a list of them, or self, which is trained first; in Python also a module.
        teacher_task: arguments of the task in which the teacher's differ, such as {width: 64}; null takes those of its run.
        temperature: temperature of the softmax; the larger, the more the unlikely classes count.
        weight: share of the soft targets in the loss; the rest is the task's own loss.
        anneal: let the weight fall to 0 over the run, linearly.
        generations: number of students with teacher=self, each taught by the one before.
        hints: modules whose output follows the teacher's, [layer2], or {layer2: layer3} with its name for them; null for none.
        hint_weight: factor of the mean squared difference of the hints in the loss.
        dtype: number format of the teacher's products; auto is bfloat16 where the device has it.
        cache_mb: megabytes for what the teacher said of inputs that come again (no random augmentation, on a CPU); 0 is off.
    """

    teacher: Any = "self"
    teacher_task: dict[str, Any] | None = None
    temperature: Positive = 2.0
    weight: Fraction = 0.5
    anneal: bool = False
    generations: Count = 1
    hints: Any = None
    hint_weight: NonNegative = 1.0
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    cache_mb: NonNegative = 256.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.given, self.pairs = teacher_names(self.teacher), {} if self.hints is None else hint_pairs(self.hints)
        if self.pairs and len(self.given) > 1:
            raise ConfigError("distill.hints are of one teacher, and there are several; leave them out, or name one teacher")
        self.teachers: list[Teacher] = []
        self.digests: list[str] = []
        self.used_dtype: str = self.dtype
        self.updates: int | None = None
        self.calls = CallRecorder()
        self.projected: Hints | None = None
        self.cache: OutputCache | None = None
        self.shares_on_device: tuple[Tensor, Tensor] | None = None
        """Both shares of the loss (`shares`), 0-dim, where updates are replayed."""

    def prepare(self, run: Run) -> None:
        dtype = teacher_dtype(self.dtype, run.device)
        self.used_dtype = "float32" if dtype is None else str(dtype).removeprefix("torch.")
        if self.pairs:
            refuse_hints(run)
        self.teachers, self.digests, self.checks = load_teachers(run, self.given, self.teacher_task, dtype)
        if any(digests != self.digests for digests in run.parts.parallel.gather(self.digests)):
            raise ConfigError("distill.teacher has other weights on one rank than on another; name one file, the same for all")
        if self.pairs:
            self.projected = Hints(run.unwrapped_model, self.teachers[0].model, self.pairs, run.seed)

    def setup(self, run: Run) -> None:
        super().setup(run)
        for check in self.checks:
            check()
        if has_channels_last(run.unwrapped_model):
            for teacher in self.teachers:
                teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.anneal and run.updates is None:
            raise ConfigError("distill.anneal needs the length of the run, and the data has none; set updates, or anneal=false")
        self.task, self.progress, self.updates, self.device = run.task, run.progress, run.updates, run.device
        self.has_fitted, self.cache = False, None
        if self.cache_mb and run.device.type == "cpu" and not self.pairs:
            self.cache = OutputCache(self.cache_mb * 1e6, run.train.samples)

    def shares(self, step: int) -> tuple[float, float]:
        """Return the shares of the task's loss and of the soft targets in update `step`, from 0. Annealed, the last has none."""
        total = max(1, (self.updates or 1) - 1)
        soft = self.weight * max(0.0, 1 - step / total) if self.anneal else self.weight
        return 1 - soft, soft

    def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, Any]:
        """Return the mixed loss, and the number of items of the task's own.

        Raises:
            ConfigError: also if the logits cannot be told, or those of teacher and student do not fit.
        """
        with self.calls.recorded(model) as calls, self.projected.recorded() if self.projected is not None else NOTHING:
            hard, items = super().__call__(model, batch)
        student = self.read(calls, outputs_of(calls), batch, "the model")
        answers = zip(self.teachers, self.ask(calls, batch), strict=True)
        teachers = [self.read(calls, output, batch, f"the teacher {teacher.title}").values for teacher, output in answers]
        if not self.has_fitted:
            for teacher, logits in zip(self.teachers, teachers, strict=True):
                check_classes(student.values, logits, f"distill.teacher={teacher.title}")
            check_items(student, items)
            self.has_fitted = True
        soft = soft_loss(student.values, soft_targets(teachers, self.temperature), self.temperature, student.counted)
        own_share, soft_share = self.shares_on_device or self.shares(self.progress.step)
        loss, parts = hard * own_share + soft * soft_share, {"own_loss": hard.detach(), "soft_loss": soft.detach()}
        if self.projected is not None:
            hint = self.projected.loss()
            loss, parts["hint_loss"] = loss + hint * self.hint_weight, hint.detach()
        self.logged = {**parts, **self.logged}  # type: ignore[misc]
        return loss, items

    def read(self, calls: list[Call], outputs: Any, batch: Any, owner: str) -> Logits:
        """Return the logits in what the model, or a teacher, returned to the loss."""
        given = None if self.task is None else self.task.logits_of(outputs, batch)
        if given is not None:
            return read_logits(given)
        return find_logits([call._replace(output=outputs) for call in calls] if len(calls) == 1 else calls, batch, owner)

    def ask(self, calls: list[Call], batch: Any) -> list[Any]:
        """Return what each teacher says to the calls that the loss made of the model."""
        with torch.no_grad():
            first = None if self.task is None else self.task.ask_teacher(self.teachers[0], calls, batch)
            if first is not None:
                return [first, *(self.task.ask_teacher(teacher, calls, batch) for teacher in self.teachers[1:])]
            if self.cache is not None and len(calls) == 1 and not calls[0].kwargs:
                return self.cache(calls[0].args, lambda inputs: [teacher(*inputs) for teacher in self.teachers])
            answers = [[teacher(*call.args, **call.kwargs) for call in calls] for teacher in self.teachers]
            return [answer[0] if len(answer) == 1 else answer for answer in answers]

    def close(self) -> None:
        self.calls.close()
        if self.projected is not None:
            self.projected.close()
        self.teachers, self.projected, self.cache = [], None, None

    def to_device_scalars(self) -> None:
        super().to_device_scalars()
        self.shares_on_device = (torch.zeros((), device=self.device), torch.zeros((), device=self.device))

    def before_replay(self) -> None:
        super().before_replay()
        if self.shares_on_device is not None:
            for share, value in zip(self.shares_on_device, self.shares(self.progress.step), strict=True):
                share.fill_(value)

    def capture_blocker(self) -> str:
        return (
            "distill looks up on the host what its teacher said; set plugins.distill.cache_mb=0" if self.cache is not None else ""
        )

    def identity(self) -> dict[str, Any]:
        """Return what decides the loss, with the digests of the teachers' weights, wherever they lie."""
        names = ["temperature", "weight", "anneal", *(["hint_weight"] if self.pairs else [])]
        kept = {name: self.settings[name] for name in names} | ({"hints": self.pairs} if self.pairs else {})
        length = {"updates": self.updates} if self.anneal else {}
        return kept | length | {"dtype": self.used_dtype, "teacher": self.digests[0] if len(self.digests) == 1 else self.digests}

    def given_code(self) -> list[Any]:
        return [type(self), *{type(teacher.model): None for teacher in self.teachers}]

    def plan_notes(self) -> Mapping[str, str]:
        count = sum(param.numel() for teacher in self.teachers for param in teacher.parameters())
        titles = listed([teacher.title for teacher in self.teachers])
        falls = ", which falls to 0" if self.anneal else ""
        notes = {"teacher": f"{titles}; {count:,} weights, products in {self.used_dtype}"}
        notes["soft targets"] = f"at temperature {self.temperature:g}, with weight {self.weight:g}{falls}"
        if self.projected is not None:
            notes["hints"] = self.projected.describe()
        return notes

    def ineffective_settings(self, run: Run) -> list[str]:
        cases = {
            "generations": (SELF in self.given, "teacher=self"),
            "hint_weight": (bool(self.pairs), "hints"),
            "teacher_task": (any(isinstance(one, str) for one in self.given), "a teacher that is a file"),
            "anneal": (self.weight > 0, "a weight above 0"),
            "cache_mb": (self.cache is not None or not self.cache_mb, "a CPU, and beside hints"),
        }
        return [
            f"distill.{name} has no effect without {needed}"
            for name, (fits, needed) in cases.items()
            if not fits and self.changed(name)
        ]

    def summary_notes(self) -> list[str]:
        note = "" if self.cache is None else self.cache.note()
        return [*super().summary_notes(), *([f"distill: of what the teacher said, {note}"] if note else [])]

    def state_dict(self) -> dict[str, Any]:
        added = {} if self.projected is None else self.projected.added.state()
        return {**super().state_dict(), **({ADDED: added} if added else {})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if self.projected is not None:
            self.projected.added.load(state.get(ADDED, {}))
