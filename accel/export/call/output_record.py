"""A look-alike of the object that a model returns, which nobody needs the class of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["OutputRecord"]


class OutputRecord(dict[str, Any]):
    """Outputs of a model by name: as attributes, as keys, and in order, as those of a data class or of transformers are asked for.

    Args:
        values: the values by name. One that is None is an attribute alone.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__({name: value for name, value in values.items() if value is not None})
        vars(self).update(values)

    def __getitem__(self, key: Any) -> Any:
        """Return an output by its name, or several by their places."""
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the outputs that are not None, in order."""
        return tuple(self.values())
