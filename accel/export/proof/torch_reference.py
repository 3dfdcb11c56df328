"""What an export is compared with: the torch model of a run, evaluated on held-out data."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from accel.checkpoints.weights.find_weights import FoundWeights
from accel.engine.loading.evaluate_saved import Evaluation, evaluate_saved
from accel.engine.loading.task_record import TaskRecord
from accel.engine.request import RunRequest
from accel.errors import ConfigError
from accel.export.example import ModelCall
from accel.export.proof.plain_request import plain_request

__all__ = ["CallRecord", "TorchReference", "without_caches"]


class CallRecord(nn.Module):
    """Stand-in for a model that keeps its first call.

    Args:
        model: the model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.first: ModelCall | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model does."""
        output = self.model(*args, **kwargs)
        if self.first is None:
            self.first = ModelCall(*tree_map(_copy, (args, kwargs, output)))
        return output


def without_caches(model: nn.Module) -> nn.Module:
    """Return a model of transformers that keeps no cache of keys, which no file has a place for. Its configurations are copied."""
    plain: dict[int, tuple[Any, Any]] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        if getattr(config, "use_cache", None) is True:
            _, copied = plain.setdefault(id(config), (config, copy(config)))
            copied.use_cache = False
            module.config = copied
    return model


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


@dataclass
class TorchReference:
    """The torch model of a run on the CPU in float32, with its metrics on held-out data.

    Args:
        request: the task and settings of the run.
        source: its weights.
        record: the task of the run.
    """

    request: RunRequest
    source: FoundWeights
    record: TaskRecord | None

    def __post_init__(self) -> None:
        self.request = plain_request(self.request)
        records: list[CallRecord] = []

        def recorded(model: nn.Module) -> nn.Module:
            records.append(CallRecord(model))
            return records[0]

        self.evaluation = self.evaluate(recorded)
        self.model = records[0].model.eval()
        if records[0].first is None:
            raise ConfigError("metrics(model, batch) does not call the model, so nothing can be exported: call model(...) in it")
        self.call = records[0].first

    def evaluate(self, stand_in: Callable[[nn.Module], nn.Module]) -> Evaluation:
        """Return the metrics on the held-out data, computed by what takes the place of the model with its weights."""
        return evaluate_saved(self.request, self.source, self.record, lambda model: stand_in(without_caches(model)))
