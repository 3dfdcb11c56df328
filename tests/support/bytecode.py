"""Bytecode of accel for the processes that tests start: without it each of some hundred would compile all sources anew."""

from __future__ import annotations

import py_compile
from contextlib import suppress
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path

CHECKED = (3).to_bytes(4, "little")
"""The flags of bytecode that Python takes if the source has the digest that stands in it."""


def keep_bytecode(folder: Path) -> None:
    """Compile the sources in a folder of which no bytecode is there, also where Python is told to write none.

    It is bytecode with a digest of its source: none is stale, however often a source changes within a second.
    """
    for source in folder.rglob("*.py"):
        target = Path(cache_from_source(str(source)))
        wanted = MAGIC_NUMBER + CHECKED + source_hash(source.read_bytes())
        if not target.exists() or target.read_bytes()[: len(wanted)] != wanted:
            with suppress(OSError):  # in a checkout that may not be written to
                py_compile.compile(str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
