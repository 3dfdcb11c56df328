"""From a composed config to a typed one, without importing torch. Nothing is called before everything is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from accel.cli.compose.config import NESTED, Chosen, Config
from accel.cli.compose.origin import Origins
from accel.errors import ConfigError, conflict, nearest
from accel.schema import plugin_registry
from accel.schema.settings import Settings
from accel.schema.signature import REQUIRED, Signature
from accel.schema.signature_reader import read_signature
from accel.system import machine
from accel.values import coerce, refusal

if TYPE_CHECKING:
    from accel.cli.compose.hydra_session import Entry, Session
    from accel.cli.compose.overrides import Normal

__all__ = ["MISSING", "Checker"]

MISSING = "???"


class Checker:
    """Checks one composed config; `config()` is what it came to.

    Args:
        cuda: whether the machine that is going to train has GPUs, where that is another one than this.

    Raises:
        ConfigError: for the first thing that cannot work, named as it was typed, or with its file.
    """

    def __init__(
        self, session: Session, entries: Sequence[Entry], normal: Normal, composed: dict[Any, Any], cuda: bool | None = None
    ) -> None:
        self.session, self.entries, self.typed, self.asked, self.cuda = session, entries, normal.typed, normal.asked, cuda
        self.composed = {str(key): value for key, value in composed.items()}
        self.origins = Origins(session, entries, normal.typed)
        self.warnings: list[str] = []
        self.skipped: dict[str, str] = {}

    def config(self) -> Config:
        """The checked config."""
        settings = self.run()
        task = self.task()
        plugins = self.plugins(self.device(settings.device))
        bundled = [name for name in plugins if not self.by_name(name)]
        return Config(settings, task, plugins, self.skipped, bundled, self.warnings, overrides=self.typed)

    def run(self) -> Settings:
        """The settings of the run itself."""
        known = {field.name: field.name.replace(f"{NESTED}_", f"{NESTED}.") for field in fields(Settings)}
        given = {key: value for key, value in self.composed.items() if key not in ("task", "plugins", "vars")}
        if isinstance(given.get(NESTED), dict):
            given |= {f"{NESTED}.{inner}": value for inner, value in given.pop(NESTED).items()}
        right = [*known.values(), "vars", *self.session.groups()]
        for key in given:
            if key not in known.values():
                self.misplaced(key)
                raise ConfigError(f"{self.origins.say(key)}: {key} is no setting of a run{nearest(key, right)}")
        for key, value in given.items():
            if value == MISSING:
                raise ConfigError(f"{key} is missing: add {key}=VALUE")
        try:
            settings = Settings(**{name: given[key] for name, key in known.items() if key in given})
        except ConfigError as error:
            raise ConfigError(self.file_of(str(error).partition(" ")[0]) + str(error)) from None
        if self.cuda is False and self.device(settings.device) == "cuda":
            raise ConfigError(f"device={settings.device}: the launcher asks for no GPU; add hydra.launcher.gpus_per_node=NUMBER")
        if self.cuda is None and self.device(settings.device) == "cuda" and not machine.has_cuda():
            raise ConfigError(f"device={settings.device}: there is no CUDA device here; use device=auto or device=cpu")
        return settings

    def device(self, asked: str) -> str:
        """`"cpu"` or `"cuda"`, on the machine that is going to train."""
        return machine.resolve_device(asked if self.cuda is None or asked != "auto" else "cuda" if self.cuda else "cpu")

    def misplaced(self, group: str) -> None:
        """Raises ConfigError for a file of `group` whose content landed under the group's name, where nothing looks for it."""
        for entry in self.entries:
            if entry.path.startswith(f"{group}/") and entry.package == group:
                raise ConfigError(f"{self.session.file(entry.path)} must begin with the line `# @package _global_`")

    def file_of(self, key: str) -> str:
        """`FILE: ` where a file and no override set `key`; empty otherwise."""
        return "" if self.origins.override(key) else self.origins.say(key).removesuffix(key)

    def task(self) -> Chosen:
        """The task."""
        task = self.composed.get("task")
        if not isinstance(task, dict) or task.get("_target_") in (None, MISSING):
            options = ", ".join(self.session.options("task"))
            raise ConfigError(f"there is no task: add task=NAME ({options}), or task._target_=mine.MyTrainer")
        target, settings = str(task["_target_"]), {str(key): value for key, value in task.items() if key != "_target_"}
        said = self.origins.say("task._target_")
        read = self.read(said, target)
        if target in ("accel.Trainer", "accel.trainer.Trainer"):
            raise ConfigError(f"{said}: it has no model and no data; name a subclass of it, such as mine.MyTrainer")
        if read.part != "Trainer":
            raise ConfigError(f"{said}: {target} is not a subclass of accel.Trainer")
        if not read.accepts_more:
            raise ConfigError(f"{target}: its __init__ must take **run and call super().__init__(**run), for epochs and the like")
        settings = {name: value for name, value in settings.items() if not self.belongs_to_other_task(target, name)}
        return Chosen(target, "Trainer", self.complete("task", target.rpartition(".")[2], settings, read))

    def belongs_to_other_task(self, target: str, name: str) -> bool:
        """Whether a setting of the task came along with a file for another class, which nobody asked for by name."""
        home = next((entry for entry in self.entries if entry.path.startswith("task/")), None)
        if home is None or self.session.content(home.path).get("_target_") == target or any("task=" in text for text in self.typed):
            return False
        return not self.origins.override(f"task.{name}") and self.origins.entry(f"task.{name}") is home

    def plugins(self, device: str) -> dict[str, Chosen]:
        """The plugins that are on, one for each part and any number of watches."""
        plugins = self.composed.get("plugins") or {}
        self.files(plugins)
        found: dict[str, Chosen] = {}
        for name, value in plugins.items():
            if not isinstance(value, dict) or "_target_" not in value:
                self.unknown_key(str(name), value)
                continue
            said, target = self.origins.say(f"plugins.{name}._target_"), str(value["_target_"])
            read = self.read(said, target)
            if read.part in ("", "Trainer"):
                raise ConfigError(f"{said}: {target} is not a plugin, a subclass of a part in accel.parts")
            settings = {str(key): one for key, one in value.items() if key != "_target_"}
            fitted = self.complete(f"plugins.{name}", name, settings, read)
            reason = self.lacking(name, read, fitted, device)
            if reason is None:
                found[name] = Chosen(target, read.part, fitted)
            else:
                self.skipped[name] = reason
        return self.one_per_part(found)

    def files(self, plugins: Any) -> None:
        """Each file of a plugin must name a class, and land where the plugin's settings are."""
        if not isinstance(plugins, dict):
            raise ConfigError(f"{self.origins.say('plugins')}: write plugins=[NAME,NAME]")
        dropped = [name for name in self.asked if f"plugins/{name}" not in {entry.path for entry in self.entries}]
        if dropped:
            raise ConfigError(f"a config drops {dropped[0]} by `override /plugins`; let it say `- /plugins: [...]`, which adds")
        for entry in self.entries:
            name = entry.path.removeprefix("plugins/")
            if name == entry.path or entry.path.startswith("plugins/_"):
                continue
            content, file = self.session.content(entry.path), self.session.file(entry.path)
            if "_target_" in content and entry.package != f"plugins.{name}":
                raise ConfigError(f"{file} must begin with the line `# @package plugins.{name}`")
            if "_target_" not in content and "defaults" not in content:
                raise ConfigError(f"{file} names no class: add the line `_target_: mine.MyPlugin`")

    def unknown_key(self, name: str, value: Any) -> None:
        """A key of `plugins` that is no plugin: an error where no plugin has that name, a warning where it is only not on."""
        said = self.origins.say(f"plugins.{name}")
        on, options = [str(key) for key in self.composed["plugins"]], self.session.options("plugins")
        if value == {} and name in options:  # a bundle
            return
        if name not in options:
            hint = nearest(name, [key for key in on if key != name]) or nearest(name, options)
            raise ConfigError(f"{said}: no plugin is called {name!r}{hint}")
        if not isinstance(value, dict):
            raise ConfigError(f"{said}: to switch {name} on write '+plugins=[{name}]', off '~plugins.{name}'")
        if name in plugin_registry.targets():
            self.fitted(
                f"plugins.{name}", name, {str(key): one for key, one in value.items()}, plugin_registry.plugin_signature(name)
            )
        self.warnings.append(f"{said} has no effect: {name} is not on; add '+plugins=[{name}]'")

    def read(self, said: str, target: str) -> Signature:
        """The signature of `target`."""
        try:
            return read_signature(target)
        except ConfigError as error:
            raise ConfigError(f"{said}: {error}".replace(f"{target}: {target}", target)) from None

    def fitted(self, prefix: str, owner: str, settings: dict[str, Any], read: Signature) -> dict[str, Any]:
        """The settings, each as its kind."""
        fitted = {}
        for name, value in settings.items():
            key = f"{prefix}.{name}"
            if name not in read.settings:
                own = next((field.name for field in fields(Settings) if field.name == name and prefix == "task"), None)
                hint = f"; {own} is a setting of the run: {own}=..." if own else nearest(name, read.settings)
                takes = "" if hint else f"; it takes {', '.join(read.settings)}" if read.settings else "; it takes none"
                raise ConfigError(f"{self.origins.say(key)}: {name} is no setting of {owner}{hint}{takes}")
            if value == MISSING:
                continue
            try:
                fitted[name] = coerce(value, read.settings[name].kind)
            except ValueError:
                raise ConfigError(self.file_of(key) + refusal(key, value, read.settings[name].kind)) from None
        return fitted

    def complete(self, prefix: str, owner: str, settings: dict[str, Any], read: Signature) -> dict[str, Any]:
        """The same, with nothing missing."""
        fitted = self.fitted(prefix, owner, settings, read)
        for name, setting in read.settings.items():
            if name not in fitted and (setting.default is REQUIRED or settings.get(name) == MISSING):
                word = {"root": "DIR", "path": "FILE"}.get(name, "VALUE")
                raise ConfigError(f"{prefix}.{name} is missing: add {prefix}.{name}={word}")
        return fitted

    def by_name(self, name: str) -> bool:
        """Whether anyone but a bundle asked for the plugin."""
        parents = [entry.parent for entry in self.entries if entry.path == f"plugins/{name}"]
        return not parents or any(not parent.startswith("plugins/") for parent in parents)

    def lacking(self, name: str, read: Signature, fitted: dict[str, Any], device: str) -> str | None:
        """Why a plugin cannot work here, or brings nothing; an error where it cannot work and was asked for by name."""
        named = self.by_name(name)
        settings = {key: setting.default for key, setting in read.settings.items()} | fitted
        for need in read.needs if named else (*read.needs, *read.wants):
            reason = need.unmet_reason(settings, device)
            if reason is not None and named:
                raise ConfigError(need.sentence(name, reason))
            if reason is not None:
                return reason
        return None

    def one_per_part(self, found: dict[str, Chosen]) -> dict[str, Chosen]:
        """One plugin for each part: what was asked for by name goes before what a bundle brought."""
        for part in dict.fromkeys(plugin.part for plugin in found.values() if plugin.part != "Watch"):
            rivals = sorted(name for name, plugin in found.items() if plugin.part == part)
            named = [name for name in rivals if self.by_name(name)]
            if len(named) == 1:
                for name in set(rivals) - set(named):
                    del found[name]
                    self.skipped[name] = f"{named[0]} provides {part}"
            elif len(rivals) > 1:
                raise ConfigError(conflict(named or rivals, part))
        return found
