"""Where the config of a run is looked for: the flags that training and commands about a run to be have in common."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import NamedTuple, Self

from accel.cli.compose.compose import compose
from accel.cli.compose.config import Config

__all__ = ["ConfigSource"]


class ConfigSource(NamedTuple):
    """Values of `accel.cli.arguments.CONFIG_FLAGS`, each None where the flag was not typed.

    Args:
        config_dir: directory of the user's own config files.
        config_path: run directory, with whose config a run begins.
        config_name: name of the config that a run begins with; None for `config`.
    """

    config_dir: str | None = None
    config_path: str | None = None
    config_name: str | None = None

    @classmethod
    def of(cls, args: Namespace) -> Self:
        """Return the values among the flags of a command."""
        return cls(args.config_dir, args.config_path, args.config_name)

    @property
    def words(self) -> list[str]:
        """The flags as they are typed again, for another command.

        >>> ConfigSource(config_name="mine").words
        ['--config-name', 'mine']
        """
        flags = {f"--{name.replace('_', '-')}": value for name, value in self._asdict().items()}
        return [word for flag, value in flags.items() if value is not None for word in (flag, value)]

    def compose(self, overrides: Sequence[str]) -> Config:
        """Return the checked config of some overrides. Raise ConfigError if they cannot work."""
        return compose(overrides, **self._asdict())
