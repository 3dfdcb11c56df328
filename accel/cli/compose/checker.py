"""The check of a composed config, without importing torch. Nothing is called before everything is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from accel.cli.compose.class_settings import MISSING, coerce_settings, complete_settings
from accel.cli.compose.config import Config, TargetConfig
from accel.cli.compose.origin import Origins
from accel.cli.compose.setting_owners import owner_hint
from accel.errors import ConfigError, conflict, nearest
from accel.schema import plugin_registry
from accel.schema.settings import NESTED, SHORT, Settings, config_key, typed_name
from accel.schema.signature import Signature
from accel.schema.signature_reader import read_signature
from accel.system import machine

if TYPE_CHECKING:
    from accel.cli.compose.hydra_session import ConfigFile, Session
    from accel.cli.compose.overrides import JobOverrides

__all__ = ["Checker"]


class Checker:
    """Check of one composed config; `config()` returns the typed result.

    Args:
        session: reads config files.
        files: the config files of the composition, in the order in which they were merged.
        overrides: the overrides of the job.
        composed: the composed config, as plain mappings and lists.
        cuda: whether the machine that is going to train has GPUs; None is this machine.

    Raises:
        ConfigError: for the first value that cannot work, named as it was typed, or with its file. All methods raise it.
    """

    def __init__(
        self,
        session: Session,
        files: Sequence[ConfigFile],
        overrides: JobOverrides,
        composed: dict[Any, Any],
        cuda: bool | None = None,
    ) -> None:
        self.session, self.files, self.overrides, self.cuda = session, files, overrides, cuda
        self.composed = {str(key): value for key, value in composed.items()}
        self.origins = Origins(session, files, overrides.typed)
        self.idle: dict[str, str] = {}
        self.skipped: dict[str, str] = {}

    def config(self) -> Config:
        """Return the checked config."""
        settings = self.run_settings()
        task = self.task_config()
        plugins = self.plugin_configs(self.device(settings.device))
        bundled = [name for name in plugins if not self.requested_by_name(name)]
        return Config(settings, task, plugins, self.skipped, bundled, self.idle, overrides=self.overrides.typed)

    def run_settings(self) -> Settings:
        """Return the settings of the run itself."""
        keys = {field.name: config_key(field.name) for field in fields(Settings)}
        values = {key: value for key, value in self.composed.items() if key not in ("task", "plugins", "vars")}
        for group in NESTED:
            if isinstance(values.get(group), dict):
                values |= {f"{group}.{inner}": value for inner, value in values.pop(group).items()}
            elif group in SHORT and group in values:
                values[SHORT[group]] = values.pop(group)
        for key in values:
            if key not in keys.values():
                self.require_global_package(key)
                hint = nearest(key, [*map(typed_name, keys), *keys.values(), "vars", *self.session.groups()])
                hint = owner_hint(key, values[key], self.composed) or hint or self.vars_hint(key)
                raise ConfigError(f"{self.origins.label(key)}: {key} is no setting of a run{hint}")
        for key, value in values.items():
            if value == MISSING:
                raise ConfigError(f"{key} is missing: add {key}=VALUE")
        try:
            settings = Settings(**{name: values[key] for name, key in keys.items() if key in values})
        except ConfigError as error:
            raise ConfigError(self.origins.file_prefix(str(error).partition(" ")[0]) + str(error)) from None
        if settings.has_other_length and self.origins.is_default("epochs"):  # nobody has asked for so many
            settings.epochs = None
        self.require_device(settings.device)
        return settings

    def vars_hint(self, key: str) -> str:
        """Return where a value of the user's own stands, for a key of a config file; empty for one that was typed."""
        is_typed = self.session.is_resolved or self.origins.find_override(key)
        return "" if is_typed else f"; values of your own stand below vars, as vars.{key}"

    def require_device(self, device: str) -> None:
        """Raise ConfigError if the machine that is going to train lacks a device."""
        if self.device(device) != "cuda":
            return
        if self.cuda is False:
            raise ConfigError(f"device={device}: the launcher asks for no GPU; add hydra.launcher.gpus_per_node=NUMBER")
        if self.cuda is None and not machine.has_cuda():
            raise ConfigError(f"device={device}: there is no CUDA device here; use device=auto or device=cpu")

    def device(self, device: str) -> str:
        """Return the kind of a device, `"cpu"` or `"cuda"`, on the machine that is going to train."""
        return machine.resolve_device(device if self.cuda is None or device != "auto" else "cuda" if self.cuda else "cpu")

    def require_global_package(self, group: str) -> None:
        """Raise ConfigError if a file of `group` lacks its package line, so that its content stands under the group's name."""
        for file in self.files:
            if file.path.startswith(f"{group}/") and file.package == group:
                raise ConfigError(f"{self.session.file_path(file.path)} must begin with the line `# @package _global_`")

    def task_config(self) -> TargetConfig:
        """Return the class of the task with its settings."""
        task = self.composed.get("task")
        if not isinstance(task, dict) or task.get("_target_") in (None, MISSING):
            options = ", ".join(self.session.options("task"))
            by_name = "the config of a run takes its class;" if self.session.is_resolved else f"add task=NAME ({options}), or"
            raise ConfigError(f"there is no task: {by_name} task._target_=mine.MyTrainer")
        target, settings = str(task["_target_"]), {str(key): value for key, value in task.items() if key != "_target_"}
        label = self.origins.label("task._target_")
        signature = self.read_signature(label, target)
        if target in ("accel.Trainer", "accel.trainer.Trainer"):
            raise ConfigError(f"{label}: it has no model and no data; name a subclass of it, such as mine.MyTrainer")
        if signature.part != "Trainer":
            raise ConfigError(f"{label}: {target} is not a subclass of accel.Trainer")
        if not signature.accepts_more:
            raise ConfigError(f"{target}: its __init__ must take **run and call super().__init__(**run), for epochs and the like")
        settings = {name: value for name, value in settings.items() if not self.belongs_to_other_task(target, name)}
        owner = target.rpartition(".")[2]
        return TargetConfig(target, "Trainer", complete_settings(self.origins, "task", owner, settings, signature))

    def belongs_to_other_task(self, target: str, name: str) -> bool:
        """Return whether a setting of the task comes from a file for another class, which nobody asked for by name."""
        file = next((file for file in self.files if file.path.startswith("task/")), None)
        if file is None or self.session.read_file(file.path).get("_target_") == target:
            return False
        if any("task=" in text for text in self.overrides.typed) or self.origins.find_override(f"task.{name}"):
            return False
        return self.origins.find_file(f"task.{name}") is file

    def plugin_configs(self, device: str) -> dict[str, TargetConfig]:
        """Return the plugins that are on, by name: one for each part, and any number of watches.

        Args:
            device: kind of the device, `"cpu"` or `"cuda"`.
        """
        plugins = self.composed.get("plugins") or {}
        self.check_plugin_files(plugins)
        configs: dict[str, TargetConfig] = {}
        for name, value in plugins.items():
            if not isinstance(value, dict) or "_target_" not in value:
                self.check_unused_key(str(name), value)
                continue
            label, target = self.origins.label(f"plugins.{name}._target_"), str(value["_target_"])
            signature = self.read_signature(label, target)
            if signature.part in ("", "Trainer"):
                raise ConfigError(f"{label}: {target} is not a plugin, a subclass of a part in accel.parts")
            typed = {str(key): setting for key, setting in value.items() if key != "_target_"}
            settings = complete_settings(self.origins, f"plugins.{name}", name, typed, signature)
            reason = self.unmet_need(name, signature, settings, device)
            if reason is None:
                configs[name] = TargetConfig(target, signature.part, settings)
            else:
                self.skipped[name] = reason
        return self.one_per_part(configs)

    def check_plugin_files(self, plugins: Any) -> None:
        """Raise ConfigError if a plugin's file names no class, or its content is not under the plugin's key."""
        if not isinstance(plugins, dict):
            raise ConfigError(f"{self.origins.label('plugins')}: write plugins=[NAME,NAME]")
        paths = {file.path for file in self.files}
        dropped = [name for name in self.overrides.requested if f"plugins/{name}" not in paths]
        if dropped:
            raise ConfigError(f"a config drops {dropped[0]} by `override /plugins`; let it say `- /plugins: [...]`, which adds")
        for file in self.files:
            name = file.path.removeprefix("plugins/")
            if name == file.path or name.startswith("_"):
                continue
            content, path = self.session.read_file(file.path), self.session.file_path(file.path)
            if "_target_" in content and file.package != f"plugins.{name}":
                raise ConfigError(f"{path} must begin with the line `# @package plugins.{name}`")
            if "_target_" not in content and "defaults" not in content:
                raise ConfigError(f"{path} names no class: add the line `_target_: mine.MyPlugin`")

    def check_unused_key(self, name: str, value: Any) -> None:
        """Raise ConfigError if a key of `plugins` without a class names no plugin; note one that is not on as idle."""
        label = self.origins.label(f"plugins.{name}")
        keys, options = [str(key) for key in self.composed["plugins"]], self.session.options("plugins")
        if value == {} and name in options:  # a bundle
            return
        if name not in options:
            hint = nearest(name, [key for key in keys if key != name]) or nearest(name, options)
            hint = owner_hint(name, value, self.composed) or hint
            raise ConfigError(f"{label}: no plugin is called {name!r}{hint}")
        if not isinstance(value, dict):
            raise ConfigError(f"{label}: to switch {name} on write '+plugins=[{name}]', off '~plugins.{name}'")
        if name in plugin_registry.targets():
            settings = {str(key): setting for key, setting in value.items()}
            coerce_settings(self.origins, f"plugins.{name}", name, settings, plugin_registry.plugin_signature(name))
        self.idle[name] = f"{label} has no effect: {name} is not on; add '+plugins=[{name}]'"

    def read_signature(self, label: str, target: str) -> Signature:
        """Return what the class called `target` takes; `label` begins the message if there is none."""
        try:
            return read_signature(target)
        except ConfigError as error:
            raise ConfigError(f"{label}: {error}".replace(f"{target}: {target}", target)) from None

    def requested_by_name(self, name: str) -> bool:
        """Return whether anyone but a bundle asked for a plugin."""
        parents = [file.parent for file in self.files if file.path == f"plugins/{name}"]
        return not parents or any(not parent.startswith("plugins/") for parent in parents)

    def unmet_need(self, name: str, signature: Signature, settings: dict[str, Any], device: str) -> str | None:
        """Return why a plugin of a bundle cannot work, or has no use, here; None if it can.

        Raises:
            ConfigError: if a plugin cannot work that was requested by name.
        """
        by_name = self.requested_by_name(name)
        settings = {key: setting.default for key, setting in signature.settings.items()} | settings
        for need in signature.needs if by_name else (*signature.needs, *signature.wants):
            reason = need.unmet_reason(settings, device)
            if reason is not None and by_name:
                raise ConfigError(need.sentence(name, reason))
            if reason is not None:
                return reason
        return None

    def one_per_part(self, configs: dict[str, TargetConfig]) -> dict[str, TargetConfig]:
        """Return `configs` with one plugin for each part: one that was requested by name goes before those of a bundle."""
        for part in dict.fromkeys(plugin.part for plugin in configs.values() if plugin.part != "Watch"):
            rivals = sorted(name for name, plugin in configs.items() if plugin.part == part)
            requested = [name for name in rivals if self.requested_by_name(name)]
            if len(requested) == 1:
                for name in set(rivals) - set(requested):
                    del configs[name]
                    self.skipped[name] = f"{requested[0]} provides {part}"
            elif len(rivals) > 1:
                raise ConfigError(conflict(requested or rivals, part))
        return configs
