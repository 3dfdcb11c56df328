"""What the user asked for, before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MethodType
from typing import Any
from weakref import WeakMethod

from torch import nn

from accel.engine.loading import task_record
from accel.engine.task import Task
from accel.parts import Part
from accel.schema.settings import Settings
from accel.values import to_plain

__all__ = ["RunRequest", "TaskMethod"]


class TaskMethod:
    """Method of a task that does not keep the task alive.

    A task has its plugins, and these have its loss: in a circle, the model would outlive the run until Python's collector comes.

    Args:
        method: the bound method. A copy that is pickled is the method itself.
    """

    def __init__(self, method: MethodType) -> None:
        self.method = WeakMethod(method)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method. Raise ReferenceError if the task is gone."""
        return self.bound()(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        method = self.bound()
        return getattr, (method.__self__, method.__name__)

    def bound(self) -> Any:
        """Return the method. Raise ReferenceError if the task is gone."""
        method = self.method()
        if method is None:
            raise ReferenceError("the task of this run is gone; keep it for as long as its loss is called")
        return method


@dataclass(frozen=True)
class RunRequest:
    """Task, plugins and settings of a run. The task is given as functions, so that the engine needs no Trainer."""

    settings: Settings
    model: Callable[[], nn.Module]
    """Makes the module to train; called once, after seeding."""
    data: Callable[[str], Any]
    """Returns the data of a split: `"train"`, or one in `evaluation_split` (None for no evaluation)."""
    loss: Callable[[nn.Module, Any], Any]
    """`loss(model, batch)`, as the user wrote it."""
    metrics: Callable[[nn.Module, Any], Any]
    """`metrics(model, batch)` of an evaluation, as the user wrote it, or made of the loss."""
    task_identity: Callable[[], dict[str, Any]]
    """Returns the arguments of the task that a resumed run must have in common with this one, by name."""
    num_classes: Callable[[], int | None]
    """Returns how many classes the task says that there are; None if it does not say. Called after `data`."""
    count_samples: Callable[[Any], Any] | None = None
    """Returns the number of samples in a batch; a result of None leaves it to the structure of the batch."""
    collate: Callable[[list[Any]], Any] | None = None
    """Makes a batch of samples; None leaves it to the data set."""
    initial_weights: Any = None
    """What the model begins with: a path, a state dict or a module; None for its own initialisation."""
    plugins: Sequence[Part | str] = ()
    watches: Sequence[Part | str] = ()
    """Default watches; one that is among `plugins` too is taken from there."""
    code: Mapping[str, list[Any]] = field(default_factory=dict)
    """The task's code by what it is for (`accel.checkpoints.code.task_code`)."""
    task: Any = None
    """The object whose attributes are kept in checkpoints as far as they move, beside those of its loss and its metrics."""
    task_settings: frozenset[str] = frozenset()
    """Attributes of it that are no state."""
    evaluation_split: str | tuple[str, ...] = "val"
    """Names of the splits that are evaluated."""
    objectives: Callable[[nn.Module], Any] | None = None
    """Returns the losses with optimisers of their own, of the model; None if there is one loss."""
    evaluated: Callable[[dict[str, float]], Any] | None = None
    """`evaluated(metrics)`, called at the end of each evaluation: returns numbers to add to the metrics, or None."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Plugins left out of a bundle, each with the reason."""
    bundled: Sequence[str] = ()
    """Plugins that only a bundle asked for: one that cannot work here is left out, with the reason."""
    command: str = ""
    """The command that started the run; empty in a script."""
    config: str = ""
    """The resolved configuration as YAML."""
    trains: bool = True
    """Whether the run trains; one that only evaluates does without the training data."""

    def state_holders(self) -> dict[str, Any]:
        """Return the objects that may have a state beside the model: the task, and the functions of its loss and metrics."""
        functions = [(name, number, one) for name in ("loss", "metrics") for number, one in enumerate(self.code.get(name, []))]
        return {"task": self.task, **{f"{name}{number or ''}": one for name, number, one in functions}}

    def records(self) -> dict[str, str]:
        """Return the content of the files, by name, that say what the run is: task.json, the task's, config.yaml of a command."""
        texts = {} if not self.config else {"config.yaml": self.config}
        if isinstance(self.task, Task):
            texts |= self.task.record_files()
            texts[task_record.FILE] = task_record.TaskRecord.of(self.task).text()
        return texts

    def task_facts(self) -> dict[str, Any]:
        """Return the task for the plan: its `class`, and its own `arguments` by name; an object is the name of its class."""
        if not isinstance(self.task, Task):
            return {}
        kind = type(self.task)
        return {"class": f"{kind.__module__}.{kind.__qualname__}", "arguments": to_plain(self.task.called_with)}

    def task_method(self, function: Any) -> Any:
        """Return a method of the task as a `TaskMethod`, and any other function as it is."""
        is_own = isinstance(function, MethodType) and function.__self__ is self.task
        return TaskMethod(function) if is_own else function
