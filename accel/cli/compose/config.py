"""What a run is going to be: typed, checked, and shown as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from accel.errors import ConfigError
from accel.schema.settings import Settings, typed_name
from accel.schema.signature_reader import load_class

if TYPE_CHECKING:
    from rich.table import Table

    from accel.report.result import Result
    from accel.trainer import Trainer

__all__ = ["NESTED", "Chosen", "Config"]

NESTED = "checkpoint"
"""The root key that holds a mapping of settings: `checkpoint.every` is `checkpoint_every` in Python."""


@dataclass
class Chosen:
    """A class by its dotted name, and the settings to make it with. It has been checked and not yet been imported."""

    target: str
    part: str
    """The part it provides, such as `Optim`, or `Trainer`."""
    settings: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """In the shape of its config file."""
        return {"_target_": self.target, **self.settings}

    def make(self, **more: Any) -> Any:
        """Imports the class and makes one. Raises ConfigError for anything but a plugin or a task, before it is called."""
        from accel.parts import Part
        from accel.trainer import Trainer

        cls = load_class(self.target)
        if not issubclass(cls, Trainer if self.part == "Trainer" else Part):
            raise ConfigError(f"_target_={self.target} is not a subclass of {self.part}")
        return cls(**self.settings, **more)


@dataclass
class Config:
    """A checked configuration. `trainer()` makes the Trainer of it, `fit()` trains.

    It is what the command line makes of its arguments, and what `accel.compose` returns.
    """

    settings: Settings
    task: Chosen
    plugins: dict[str, Chosen] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Plugins that only a bundle asked for and that cannot work here, with the reason."""
    bundled: list[str] = field(default_factory=list)
    """Those of `plugins` that only a bundle asked for."""
    warnings: list[str] = field(default_factory=list)
    """What has no effect, a sentence each."""
    text: str = ""
    """The resolved config as YAML; `--config-path` takes a directory with it in."""
    overrides: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """All of it in the shape of config.yaml, interpolations resolved."""
        run: dict[str, Any] = {}
        for name, value in asdict(self.settings).items():
            prefix, _, inner = name.partition("_")
            if prefix == NESTED:
                run.setdefault(NESTED, {})[inner] = value
            else:
                run[name] = value
        plugins = {name: plugin.plain() for name, plugin in self.plugins.items()}
        return {"task": self.task.plain(), "plugins": plugins, **run}

    def trainer(self, **more: Any) -> Trainer:
        """The Trainer, not yet started; this imports torch. `more` are arguments of Trainer that override the settings."""
        watch = [plugin.make() for plugin in self.plugins.values() if plugin.part == "Watch"]
        plugins = [plugin.make() for plugin in self.plugins.values() if plugin.part != "Watch"]
        run = {
            **asdict(self.settings), "skipped": self.skipped, "bundled": self.bundled, "config": self.text, "plugins": plugins,
            "watch": watch,
        }  # fmt: skip
        run |= more
        trainer: Trainer = self.task.make(**run)
        if getattr(trainer, "config", None) != run["config"]:  # it keeps the text as it is, so the rest was lost as well
            raise ConfigError(f"{self.task.target}: its __init__ must pass on what it is given: super().__init__(**run)")
        return trainer

    def fit(self) -> Result:
        """Trains."""
        return self.trainer().fit()

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """For a table: name, part, settings and status of the task and each plugin."""
        yield "task", self.task.target, "", _settings(self.task.settings)
        for name, plugin in self.plugins.items():
            yield name, plugin.part, "on", _settings(plugin.settings)
        for name, reason in self.skipped.items():
            yield name, "", f"skipped: {reason}", ""

    def facts(self) -> str:
        """The settings of the run that are set, in one line."""
        given = {typed_name(name): value for name, value in asdict(self.settings).items()}
        return _settings({name: value for name, value in given.items() if value is not None and value is not False and value != []})

    def __rich__(self) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, title=Text(self.facts()), title_justify="left", title_style="", pad_edge=False)
        for name in ("plugin", "part", "status", "settings"):
            table.add_column(name, overflow="fold")
        for row in self.rows():
            table.add_row(*map(Text, row))  # Text: a list in brackets is no markup
        return table

    def _repr_html_(self) -> str:
        from html import escape

        head = "".join(f"<th>{name}</th>" for name in ("plugin", "part", "status", "settings"))
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows())
        return f"<p>{escape(self.facts())}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        from rich.console import Console

        console = Console(width=100, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines())


def _settings(settings: dict[str, Any]) -> str:
    return " ".join(f"{name}={'null' if value is None else str(value).lower() if isinstance(value, bool) else value}"
                    for name, value in settings.items())  # fmt: skip
