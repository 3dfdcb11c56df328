"""Hydra, opened for one composition and closed without a trace. Only this file uses names that Hydra keeps internal."""

from __future__ import annotations

import warnings
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.default_element import ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from accel.cli.compose.bundles import CONF
from accel.errors import ConfigError
from accel.schema import plugin_registry

__all__ = ["YAML", "ConfigFile", "Loader", "Session", "hydra_parser", "session"]

YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader of YAML: the one in C where it is installed, which takes a tenth of the time."""


@dataclass(frozen=True)
class ConfigFile:
    """Config file of a composition.

    Args:
        path: group and name, such as `plugins/amp`.
        package: key of the config that the file's content stands under.
        parent: path of the file whose defaults list names this one.
    """

    path: str
    package: str
    parent: str


class Loader(ConfigLoaderImpl):
    """Hydra's loader, which remembers the files that the last config was composed of."""

    files: Sequence[ResultDefault] = ()
    plugins_first = False
    """Whether files of plugins go before the first file, whose settings of them count then."""

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        if self.plugins_first:
            defaults = sorted(defaults, key=lambda each: not str(each.config_path).startswith("plugins/"))
        self.files = defaults
        config: DictConfig = super()._compose_config_from_defaults_list(defaults, repo)
        return config


class Session:
    """Composer of configs from accel's files, those of third parties, and a directory of the user's, which go first.

    Args:
        config_dir: a directory of config files that go before all others.
        config_path: a directory to begin with, such as that of a run; files that it lacks are accel's.
        config_name: the file to begin with, without `.yaml`.

    Raises:
        ConfigError: if a directory or the file does not exist.
    """

    def __init__(self, config_dir: str | None = None, config_path: str | None = None, config_name: str = "config") -> None:
        if config_path is not None and not Path(config_path, f"{config_name}.yaml").is_file():
            file = Path(config_path, f"{config_name}.yaml")
            raise ConfigError(f"--config-path {config_path}: there is no {file}; name a run's directory, or --config-name NAME")
        search = create_config_search_path(str(Path(config_path).resolve() if config_path else CONF))
        if config_dir is not None:
            folder = Path(config_dir).resolve()
            if not folder.is_dir():
                raise ConfigError(f"--config-dir {config_dir}: there is no directory {folder}")
            search.prepend(provider="command-line", path=f"file://{folder}", anchor=SearchPathQuery(provider="main"))
        if config_path:
            search.prepend(provider="accel", path=f"file://{CONF}", anchor=SearchPathQuery(provider="schema"))
        for package, folder in plugin_registry.third_party_folders().items():
            search.prepend(provider=package, path=f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
        self.loader = Loader(search)
        self.hydra = Hydra("accel", self.loader)
        GlobalHydra.instance().initialize(self.hydra)
        self.name = config_name
        self.is_resolved = config_path is not None and "defaults" not in self.read_file(config_name)
        """Whether the first file is the resolved config of a run, which lists no others."""
        self.loader.plugins_first = self.is_resolved
        self.parser = OverridesParser.create(config_loader=self.loader)
        self.has_own_files = config_dir is not None or (config_path is not None and not self.is_resolved)
        """Whether config files can be the user's."""
        self.hydra_words: list[str] = []
        """Overrides of Hydra's own settings, which the values of all configs can refer to."""

    def groups(self) -> list[str]:
        """Return the config groups, sorted: `task`, `plugins`, `experiment` and the user's own."""
        return sorted(set(self.loader.list_groups("")) - {"hydra"})

    def options(self, group: str) -> list[str]:
        """Return the names of a group's files, sorted and without `.yaml`."""
        return sorted(set(self.loader.get_group_options(group, ObjectType.CONFIG)))

    def listed_groups(self) -> set[str]:
        """Return the groups from which the first file of the composition chooses, or could: those of its defaults list."""
        lines = self.read_file(self.name).get("defaults") or []
        keys = [str(key) for line in lines if isinstance(line, dict) for key in line]
        return {key.removeprefix("optional ").lstrip("/") for key in keys if not key.startswith("override ")}

    def default_plugins(self) -> list[str]:
        """Return the plugins that the first file of the composition lists, which are on without being asked for."""
        content = self.read_file(self.name)
        if self.is_resolved:
            plugins = content.get("plugins")
            return [str(name) for name, value in plugins.items() if value] if isinstance(plugins, dict) else []
        listed = content.get("defaults") or []
        return [line.removeprefix("plugins/") for line in listed if isinstance(line, str) and line.startswith("plugins/")]

    def parse(self, override: str) -> Override:
        """Return an override, parsed. Raise Hydra's OverrideParseException if it cannot be."""
        return self.parser.parse_overrides([override])[0]  # unlike parse_override it knows the files of a glob

    def has_file(self, path: str) -> bool:
        """Return whether there is a config file for `path`, such as `plugins/amp`."""
        return any(source.is_config(path) for source in self.loader.repository.get_sources())

    def file_path(self, path: str) -> str:
        """Return the path on the disk of a config file such as `plugins/amp`."""
        home = next((source.path for source in self.loader.repository.get_sources() if source.is_config(path)), "")
        return str(Path(home, path if path.endswith(".yaml") else f"{path}.yaml"))

    def read_file(self, path: str) -> dict[Any, Any]:
        """Return the content of one config file, uncomposed; empty if it cannot be read, which composing it reports."""
        try:
            with open(self.file_path(path), encoding="utf-8") as stream:
                content = yaml.load(stream, YAML)
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return content if isinstance(content, dict) else {}

    def compose(self, overrides: Sequence[str]) -> tuple[dict[Any, Any], list[ConfigFile]]:
        """Return the composed config without Hydra's own node, interpolations resolved, and its files (`merged_files`).

        Exceptions of Hydra, OmegaConf and YAML pass.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of defaults lists without _self_
            config = self.hydra.compose_config(self.name, [*self.hydra_words, *overrides], RunMode.RUN)
        files = self.merged_files()
        self.expose(config)
        return {key: _plain(config, key) for key in config if key != "hydra"}, files

    def expose(self, config: DictConfig) -> None:
        """Let `${hydra:NAME}` mean Hydra's node of a composed config from here on."""
        HydraConfig.instance().set_config(config)
        OmegaConf.set_readonly(config.hydra, False)

    def merged_files(self) -> list[ConfigFile]:
        """Return the files of the last composition in the order in which they were merged."""
        return [ConfigFile(file.config_path or "", file.package or "", file.parent or "") for file in self.loader.files]

    def own_files(self) -> list[ConfigFile]:
        """Return those of them that are the user's, and neither accel's nor of an installed package."""
        installed = (CONF, *plugin_registry.third_party_folders().values())
        files = {file: Path(self.file_path(file.path)) for file in self.merged_files()}
        return [file for file, path in files.items() if path.is_file() and not any(map(path.is_relative_to, installed))]

    def compose_multirun(self, overrides: Sequence[str]) -> DictConfig:
        """Return the config with Hydra's own node, as for a multirun. Exceptions of Hydra, OmegaConf and YAML pass."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config: DictConfig = self.hydra.compose_config(self.name, list(overrides), RunMode.MULTIRUN)
        return config

    def invalid_yaml(self) -> str:
        """Return the path of the first config file that is not YAML; empty if all are."""
        for source in self.loader.repository.get_sources():
            for path in sorted(Path(source.path).rglob("*.yaml")) if source.scheme() == "file" else ():
                try:
                    yaml.load(path.read_text(encoding="utf-8"), YAML)
                except (ValueError, yaml.YAMLError):
                    return str(path)
        return ""


def _plain(config: DictConfig, key: Any) -> Any:
    """Return the value of a key as plain mappings and lists, interpolations resolved, also those that lead out of it."""
    if config._get_node(key)._is_missing():  # type: ignore[union-attr]
        return "???"
    value = config[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


@contextmanager
def session(config_dir: str | None = None, config_path: str | None = None, config_name: str | None = None) -> Iterator[Session]:
    """Yield a Session; then restore Hydra's global state, so that a notebook or another Hydra program goes on.

    The arguments, and what is raised, are those of `Session`.
    """
    singletons: dict[Any, Any] = Singleton._instances
    previous = {kind: singletons.pop(kind, None) for kind in (GlobalHydra, HydraConfig, JobRuntime, version.VersionBase)}
    try:
        version.setbase("1.3")
        yield Session(config_dir, config_path, config_name or "config")
    finally:
        for kind, instance in previous.items():
            singletons.pop(kind, None)
            if instance is not None:
                singletons[kind] = instance


def hydra_parser() -> ArgumentParser:
    """Return Hydra's own parser of flags: --help, --cfg, --multirun and the rest."""
    return get_args_parser()
