"""Checked configuration of a run: its settings, task and plugins, which show themselves as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from accel.errors import ConfigError
from accel.schema.settings import NESTED, Settings, typed_name
from accel.schema.signature_reader import load_class

if TYPE_CHECKING:
    from rich.table import Table

    from accel.report.result import Result
    from accel.trainer import Trainer

__all__ = ["Config", "TargetConfig", "typed_value"]

ADDED = (
    "updates", "max_samples", "max_tokens", "max_seconds", "evaluate_every", "evaluate_epochs", "evaluate_batches", "init",
    "init_strict", "init_rename", "freeze",
)  # fmt: skip
"""Settings that came when tasks may have had arguments of these names."""


@dataclass
class TargetConfig:
    """Class of a task or plugin and its settings, checked but not imported.

    Args:
        target: dotted name of the class.
        part: the part that the class provides, such as `Optim`, or `Trainer`.
        settings: arguments of the class by name.
    """

    target: str
    part: str
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a config file for it."""
        return {"_target_": self.target, **self.settings}

    def instantiate(self, **more: Any) -> Any:
        """Import the class and return an instance.

        Args:
            more: further arguments of the class.

        Raises:
            ConfigError: if it is neither a plugin nor a task; it is not called then.
        """
        from accel.parts import Part
        from accel.trainer import Trainer

        cls = load_class(self.target)
        if not issubclass(cls, Trainer if self.part == "Trainer" else Part):
            raise ConfigError(f"_target_={self.target} is not a subclass of {self.part}")
        return cls(**self.settings, **more)


@dataclass
class Config:
    """Checked configuration, as `accel.compose` returns it. `trainer()` makes a Trainer of it, `fit()` trains.

    Args:
        settings: settings of the run itself.
        task: the task's class and settings.
        plugins: the plugins that are on, by name.
        skipped: plugins that only a bundle asked for and that cannot work here, with the reason.
        bundled: names of `plugins` that only a bundle asked for.
        idle: plugins that are off and were named all the same, by a setting or to switch them off, each with a sentence.
        text: the resolved config as YAML; `--config-path` takes a directory with it.
        overrides: the overrides as they were typed.
    """

    settings: Settings
    task: TargetConfig
    plugins: dict[str, TargetConfig] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    bundled: list[str] = field(default_factory=list)
    idle: dict[str, str] = field(default_factory=dict)
    text: str = ""
    overrides: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole config in the form of config.yaml, interpolations resolved."""
        run: dict[str, Any] = {}
        for name, value in asdict(self.settings).items():
            prefix, _, inner = name.partition("_")
            if prefix in NESTED:
                run.setdefault(prefix, {})[inner] = value
            else:
                run[name] = value
        plugins = {name: plugin.to_dict() for name, plugin in self.plugins.items()}
        return {"task": self.task.to_dict(), "plugins": plugins, **run}

    def is_typed(self, name: str) -> bool:
        """Return whether an override gives a setting of the run a value. The config of another run has values of its own."""
        typed = {word.lstrip("+").partition("=")[0] for word in self.overrides}
        return name in typed and bool(getattr(self.settings, name))

    def given_settings(self) -> dict[str, Any]:
        """Return the settings of the run as arguments of the Trainer, without those that nobody set.

        A task may have an argument of that name.
        """
        settings = {name.removesuffix("_from"): value for name, value in asdict(self.settings).items()}
        defaults = {"init_strict": True}
        return {name: value for name, value in settings.items() if name not in ADDED or value != defaults.get(name)}

    def trainer(self, **more: Any) -> Trainer:
        """Return the Trainer, not yet started. This imports torch.

        Args:
            more: arguments of the Trainer that go before the settings.

        Raises:
            ConfigError: if the task or a plugin refuses its settings.
        """
        watch = [plugin.instantiate() for plugin in self.plugins.values() if plugin.part == "Watch"]
        plugins = [plugin.instantiate() for plugin in self.plugins.values() if plugin.part != "Watch"]
        run = {
            **self.given_settings(), "skipped": self.skipped, "bundled": self.bundled, "config": self.text, "plugins": plugins,
            "watch": watch,
        }  # fmt: skip
        run |= more
        trainer: Trainer = self.task.instantiate(**run)
        if getattr(trainer, "config", None) != run["config"]:  # a Trainer keeps the text, so the other arguments are lost as well
            raise ConfigError(f"{self.task.target}: its __init__ must pass on its arguments: super().__init__(**run)")
        return trainer

    def fit(self) -> Result:
        """Train; return the result."""
        return self.trainer().fit()

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield (name, part, status, settings) of the task and of each plugin, for a table."""
        yield "task", self.task.target, "", _assignments(self.task.settings)
        for name, plugin in self.plugins.items():
            yield name, plugin.part, "on", _assignments(plugin.settings)
        for name, reason in self.skipped.items():
            yield name, "", f"skipped: {reason}", ""

    def settings_line(self) -> str:
        """Return the settings of the run that are not null, false or empty, in one line."""
        settings = {typed_name(name): value for name, value in asdict(self.settings).items()}
        settings |= {"init.strict": None} if self.settings.init_from is None else {}
        shown = {name: value for name, value in settings.items() if value is not None and value is not False and value != []}
        return _assignments(shown)

    def __rich__(self) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, title=Text(self.settings_line()), title_justify="left", title_style="", pad_edge=False)
        for name in ("plugin", "part", "status", "settings"):
            table.add_column(name, overflow="fold")
        for row in self.rows():
            table.add_row(*map(Text, row))  # Text: a list in brackets is no markup
        return table

    def _repr_html_(self) -> str:
        from html import escape

        left = 'style="text-align: left"'  # a notebook puts the cells of a table to the right
        head = "".join(f"<th {left}>{name}</th>" for name in ("plugin", "part", "status", "settings"))
        body = "".join("<tr>" + "".join(f"<td {left}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows())
        return f"<p>{escape(self.settings_line())}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        from accel.report.visible_console import text_block

        return text_block(lambda console: console.print(self), 100)


def _assignments(settings: dict[str, Any]) -> str:
    """Return `NAME=VALUE` of each setting, as it is typed."""
    return " ".join(f"{name}={typed_value(value)}" for name, value in settings.items())


def typed_value(value: Any) -> str:
    """Return a value as it is typed in an override, and as YAML writes it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
