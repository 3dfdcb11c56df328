"""What two ranks do where the user's code asks for what it should not, or ends the run, on one of them."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from accel import Trainer
from accel.errors import ConfigError
from tests.support.drill_length import LONG
from tests.support.judged_task import Judged
from tests.support.rank_evaluation_cases import PARALLEL, Net, loss, points

SECOND = os.environ.get("RANK") == "1"
PLACES = ("loss", "metrics", "evaluated", "data", "data to evaluate on")
PAIRS = [
    (parallel, where)
    for number, where in enumerate(PLACES)
    for parallel in (PARALLEL if LONG else [list(PARALLEL)[number % len(PARALLEL)]])
]
"""What joins the ranks, and where one of them asks: in the suite every place once."""


def case_asked_from_inside(folder: Path) -> dict[str, Any]:
    """The second rank alone asks, once four updates are done; six make an epoch."""
    outcomes: dict[str, Any] = {}
    for name, where in PAIRS:
        make, out = PARALLEL[name], folder / f"{name} {where}"
        results = [Judged(where, SECOND, plugins=[make()], out=out, batch_size=2).fit()]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "resume=.*: the run has ended early")
            results.append(Judged("nobody", plugins=[make()], resume=out, batch_size=2).fit())
        outcomes[f"{name} {where}"] = [(result.updates, result.stopped, result.history) for result in results]
    return outcomes


def case_own_backward(folder: Path) -> dict[str, str]:
    """The sentence of a loss that calls backward() itself, on all ranks or on the second alone."""
    outcomes: dict[str, str] = {}
    for name, asks in (("ddp", True), ("ddp", SECOND), ("fsdp", True)):

        def own_backward(model: nn.Module, batch: Any, asks: bool = asks) -> Tensor:
            value = loss(model, batch)
            if asks:
                value.backward(retain_graph=True)  # type: ignore[no-untyped-call]
            return value

        settings: dict[str, Any] = {"plugins": [PARALLEL[name]()], "batch_size": 3, "watch": (), "device": "cpu"}
        try:
            Trainer(Net(follows=False), points(24), None, own_backward, **settings).fit()
            outcomes[f"{name} {len(outcomes)}"] = "it trained"
        except ConfigError as error:
            outcomes[f"{name} {len(outcomes)}"] = str(error)
    return outcomes
