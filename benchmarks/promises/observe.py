"""Runs one module's observations and prints them as one line of JSON: `python -m promises.observe MODULE`."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Any

import torch

from promises import PROMISES
from promises.task import Lacking


def observed(module: Any, name: str) -> dict[str, Any]:
    """What was seen, or why there is nothing to see, or how it failed."""
    try:
        with redirect_stdout(StringIO()):
            return {"saw": getattr(module, name)()}
    except Lacking as lacking:
        return {"lacks": str(lacking)}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    try:  # Composer imports torchvision, whose own build of the operators a CPU-only torch does not load
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:
        pass
    module = import_module(f"promises.{sys.argv[1]}")
    print(json.dumps({name: observed(module, name) for name in PROMISES}))


if __name__ == "__main__":
    main()
