"""The task of a run as its directory keeps it, in task.json: its class, its arguments, and what it knows from the data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

from accel.engine.task import Task
from accel.errors import ConfigError, listed
from accel.schema.signature_reader import load_class
from accel.values import to_builtin, to_plain

__all__ = ["FILE", "GIVEN", "SCHEMA", "TaskRecord"]

FILE = "task.json"
SCHEMA = 1
GIVEN = "accel.trainer.Trainer"
"""Task of a run that was given its model in Python."""
PASS_TASK = "make it, and pass task="
PASS_MODEL = "pass the model: accel.load(RUN, model=MODEL)"


@dataclass
class TaskRecord:
    """Class, arguments and metadata of a task, from which it is made again, without its data."""

    task: str
    """The dotted name of the class."""
    arguments: dict[str, Any] | None
    """Its arguments by name, without those of every run; None if one is no plain value."""
    metadata: dict[str, Any]
    """What `Task.metadata` returned."""
    folder: ClassVar[Path | None] = None
    """The run directory that it was read from."""

    @classmethod
    def of(cls, task: Task) -> TaskRecord:
        """Return the record of a task."""
        kind, metadata = type(task), to_builtin(task.metadata())
        arguments = {
            name: value for name, value in task.called_with.items() if name in task.made_with or _is_plain(value)
        }  # plugins, say, are those of the run
        if not _is_plain(metadata):
            raise ConfigError(f"{kind.__name__}.metadata() must return texts, numbers, and lists and dicts of them")
        return cls(f"{kind.__module__}.{kind.__qualname__}", to_plain(arguments) if _is_plain(arguments) else None, metadata)

    @classmethod
    def read(cls, run: Path) -> TaskRecord | None:
        """Return the record in a run directory; None if it has none, as those of an earlier accel.

        Raises:
            ConfigError: if it is damaged, or of another version of accel.
        """
        file = run / FILE
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            schema = content.pop("schema")
            if schema == SCHEMA:
                record = cls(**content)
                kinds = {"task": str, "arguments": dict | None, "metadata": dict}
                if not all(isinstance(getattr(record, name), kind) for name, kind in kinds.items()):
                    raise TypeError
                record.folder = run  # type: ignore[misc]  # a class variable is no member of the document
                return record
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
        except (ValueError, AttributeError, KeyError, TypeError):
            raise ConfigError(f"{file} is damaged; give the model: accel.load(RUN, model=...)") from None
        raise ConfigError(f"{file} is of another accel (its schema is {schema}, and {SCHEMA} is read here); load it with that one")

    def text(self) -> str:
        """Return the content of task.json."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1)

    def check(self, metadata: dict[str, Any]) -> None:
        """Raise ConfigError if a task knows something else from its data than the one of the run did, as far as it knows it."""
        now = to_plain(metadata)
        changed = next((name for name in now if name in self.metadata and self.metadata[name] != now[name]), None)
        if changed is None:
            return
        before, after = self.metadata[changed], now[changed]
        if not (isinstance(before, list) and isinstance(after, list)):
            raise ConfigError(f"the data of the run had {changed}={before}, and this has {changed}={after}")
        lost, new = [one for one in before if one not in after], [one for one in after if one not in before]
        words = [f"{listed(ones, 3)} {what}" for ones, what in ((lost, "missing"), (new, "new to it")) if ones]
        raise ConfigError(f"the {changed} of the data are not those of the run: {'; '.join(words) or 'they have another order'}")

    def make(self, kind: type[Any] | None = None, fix: str = "", has_data: bool = False) -> Task:
        """Return the task, made again.

        Args:
            kind: its class; None to import it by its name.
            fix: what to do if it cannot be made, the end of a sentence; empty for what `accel.load` takes.
            has_data: whether it opens its data; if not, it takes what it was told by it from this record.

        Raises:
            ConfigError: if there is no such class, or it cannot be called with the arguments of the run.
        """
        kind = self._load_class(fix or PASS_MODEL) if kind is None else kind
        fix = fix or PASS_TASK
        if self.arguments is None:
            raise ConfigError(f"an argument of {kind.__name__} is an object, which no file keeps; {fix}")
        try:
            signature(kind.__init__).bind(None, **self.arguments)
        except TypeError as error:
            raise ConfigError(f"{kind.__name__} cannot be made of what the run kept ({error}); {fix}") from None
        make: Any = kind.__new__
        task = make(kind, **self.arguments)
        task.saved_metadata = None if has_data else self.metadata  # before __init__, which may ask for it in place of the data
        task.__init__(**self.arguments)
        if not isinstance(task, Task):
            raise ConfigError(f"{self.task} is not a subclass of accel.Trainer")
        task.record_folder = self.folder
        return task

    def _load_class(self, fix: str) -> type[Any]:
        module, _, _ = self.task.rpartition(".")
        try:
            return load_class(self.task)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            reason = f"there is no module {error.name!r} to import"
        except ConfigError:
            if module not in ("__main__", GIVEN.rpartition(".")[0]):
                raise
            reason = "it was defined in a script"
        raise ConfigError(f"the run's task is {self.task}, and {reason}; {fix}")


def _is_plain(value: Any) -> bool:
    """Return whether JSON gives a value back, lists for tuples."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)
