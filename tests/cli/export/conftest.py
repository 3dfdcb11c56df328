from __future__ import annotations

from tests.support.forked_engines import forked_engines, own_processes

__all__ = ["forked_engines", "own_processes"]
