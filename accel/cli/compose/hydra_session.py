"""Hydra, opened for one composition and closed without a trace. The one file that knows its inner names."""

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
from omegaconf import DictConfig

from accel.cli.compose.bundles import CONF
from accel.errors import ConfigError
from accel.schema import plugin_registry

__all__ = ["Entry", "Loader", "Session", "parser", "session"]


@dataclass(frozen=True)
class Entry:
    """One config file of a composition: `plugins/amp`, the package it lands in, and who asked for it."""

    path: str
    package: str
    parent: str


class Loader(ConfigLoaderImpl):
    """Hydra's loader; it remembers which files the last config was composed of."""

    files: Sequence[ResultDefault] = ()

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        self.files = defaults
        config: DictConfig = super()._compose_config_from_defaults_list(defaults, repo)
        return config


class Session:
    """Composes configs from `conf`, from third parties and from a directory of the user's, whose files come first."""

    def __init__(self, config_dir: str | None = None, config_path: str | None = None, config_name: str = "config") -> None:
        if config_path is not None and not Path(config_path, f"{config_name}.yaml").is_file():
            file = Path(config_path, f"{config_name}.yaml")
            raise ConfigError(f"--config-path {config_path}: there is no {file}; name a run's directory")
        search = create_config_search_path(str(Path(config_path).resolve() if config_path else CONF))
        if config_dir is not None:
            folder = Path(config_dir).resolve()
            if not folder.is_dir():
                raise ConfigError(f"--config-dir {config_dir}: there is no directory {folder}")
            search.prepend(provider="command-line", path=f"file://{folder}", anchor=SearchPathQuery(provider="main"))
        for package, folder in plugin_registry.third_party_folders().items():
            search.prepend(provider=package, path=f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
        self.loader = Loader(search)
        self.hydra = Hydra("accel", self.loader)
        GlobalHydra.instance().initialize(self.hydra)
        self.name = config_name
        self.parser = OverridesParser.create(config_loader=self.loader)

    def groups(self) -> list[str]:
        """The config groups: `task`, `plugins`, `experiment` and the user's own."""
        return sorted(set(self.loader.list_groups("")) - {"hydra"})

    def options(self, group: str) -> list[str]:
        """The files of a group, without their ending."""
        return sorted(set(self.loader.get_group_options(group, ObjectType.CONFIG)))

    def parse(self, override: str) -> Override:
        """One override, taken apart. Raises Hydra's OverrideParseException."""
        return self.parser.parse_overrides([override])[0]  # which knows the files of a glob, as parse_override does not

    def has(self, path: str) -> bool:
        """Whether there is a config file for `path`, such as `plugins/amp`."""
        return any(source.is_config(path) for source in self.loader.repository.get_sources())

    def file(self, path: str) -> str:
        """The file that `plugins/amp` is read from."""
        home = next((source.path for source in self.loader.repository.get_sources() if source.is_config(path)), "")
        return str(Path(home, path if path.endswith(".yaml") else f"{path}.yaml"))

    def content(self, path: str) -> dict[Any, Any]:
        """What stands in that file itself, uncomposed; empty where it cannot be read, which composing it will tell."""
        try:
            with open(self.file(path), encoding="utf-8") as stream:
                found = yaml.safe_load(stream)
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return found if isinstance(found, dict) else {}

    def compose(self, overrides: Sequence[str]) -> tuple[DictConfig, list[Entry]]:
        """The composed config, without Hydra's own node, and its files in order. Raises whatever Hydra raises."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of defaults lists without _self_
            config = self.hydra.compose_config(self.name, list(overrides), RunMode.RUN)
        entries = [Entry(one.config_path or "", one.package or "", one.parent or "") for one in self.loader.files]
        return self.hydra.get_sanitized_cfg(config, "job"), entries

    def whole(self, overrides: Sequence[str]) -> DictConfig:
        """Hydra's own node and all the rest, as for a multirun. Raises whatever Hydra raises."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config: DictConfig = self.hydra.compose_config(self.name, list(overrides), RunMode.MULTIRUN)
        return config

    def unreadable(self) -> str:
        """The first config file that is not YAML; empty where all are."""
        for source in self.loader.repository.get_sources():
            for path in sorted(Path(source.path).rglob("*.yaml")) if source.scheme() == "file" else ():
                try:
                    yaml.safe_load(path.read_text(encoding="utf-8"))
                except (ValueError, yaml.YAMLError):
                    return str(path)
        return ""


@contextmanager
def session(config_dir: str | None = None, config_path: str | None = None, config_name: str | None = None) -> Iterator[Session]:
    """A Session; afterwards Hydra's global state is what it was, so that a notebook or another Hydra program goes on."""
    single: dict[Any, Any] = Singleton._instances
    before = {kind: single.pop(kind, None) for kind in (GlobalHydra, HydraConfig, JobRuntime, version.VersionBase)}
    try:
        version.setbase("1.3")
        yield Session(config_dir, config_path, config_name or "config")
    finally:
        for kind, instance in before.items():
            single.pop(kind, None)
            if instance is not None:
                single[kind] = instance


def parser() -> ArgumentParser:
    """Hydra's own flags: --help, --cfg, --multirun and the rest."""
    return get_args_parser()
