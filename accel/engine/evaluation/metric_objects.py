"""Metrics that are objects with `update`, `compute` and `reset`, as those of torchmetrics and torcheval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from inspect import getclosurevars
from types import FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

from accel.engine.evaluation.scalars import scalar
from accel.errors import ConfigError, listed
from accel.parts import Run

__all__ = ["MetricObjects", "has_own_sync", "is_metric_object"]

METHODS = ("update", "compute", "reset")
"""What makes an object a metric."""
SCALAR_FIX = "let it average (torchmetrics: average='macro'), or keep it out of metrics() and compute it in evaluated(metrics)"


def is_metric_object(value: Any) -> bool:
    """Return whether a value has the methods of a metric object. A number, a tensor or a mapping has not."""
    return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in METHODS)


def _without_methods(name: str, value: Any) -> Any:
    """Return a value that is no metric object. Raise ConfigError if it is one but for a method, or the class of one."""
    has = [method for method in METHODS if callable(getattr(value, method, None))]
    if isinstance(value, type) and len(has) == len(METHODS):
        raise ConfigError(f"metrics(model, batch) returned the class {value.__name__} for {name!r}; make one, and keep it")
    if "compute" in has:
        missing = listed([f"{method}()" for method in METHODS if method not in has], 2, " and ")
        raise ConfigError(
            f"metrics(model, batch) returned a {type(value).__name__} for {name!r}, a metric object without {missing}; give it "
            "that, or return a number, or a pair (sum, count)"
        )
    return value


def has_own_sync(metric: Any) -> bool:
    """Return whether `compute` of a metric object is over all ranks by itself, as with torchmetrics."""
    if callable(getattr(metric, "sync", None)):
        return True
    members = list(metric.values()) if isinstance(metric, nn.ModuleDict) else []  # torchmetrics' MetricCollection
    return bool(members) and all(map(has_own_sync, members))


class MetricObjects:
    """Metric objects of one evaluation, by the names under which `metrics` returns them.

    Those of an evaluation before (`run.metric_objects`) are reset at the beginning, and all of them at the end: a checkpoint has
    none of their state.

    Args:
        run: the run.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.parallel = run, run.parts.parallel
        self.by_name: dict[str, Any] = {}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Give the context of an evaluation: metric objects are on the run's device, and have seen nothing before and after."""
        for value in self.held_by_user():
            if isinstance(value, nn.Module) and is_metric_object(value):
                value.to(self.run.device)
        self.reset()
        try:
            yield
        finally:
            self.reset()

    def held_by_user(self) -> Iterator[Any]:
        """Yield what the task, its loss and its metrics hold: attributes, elements of containers, variables of functions."""
        holders = {} if self.run.user_state is None else self.run.user_state.holders
        for holder in holders.values():
            held = dict(getattr(holder, "__dict__", {}))
            if isinstance(holder, FunctionType | MethodType):
                variables = getclosurevars(holder)
                held |= {**variables.nonlocals, **variables.globals}
            for value in held.values():
                yield value
                if isinstance(value, dict | list | tuple):
                    yield from value.values() if isinstance(value, dict) else value

    def reset(self) -> None:
        """Reset all objects that are known."""
        for metric in self.run.metric_objects:
            metric.reset()

    def take(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the objects among what `metrics` returned for a batch, and return the rest.

        Raises:
            ConfigError: for an object that cannot be computed over all ranks, and for a name of two objects.
        """
        rest = {}
        for key, value in values.items():
            name = str(key)
            if not is_metric_object(value):
                rest[name] = _without_methods(name, value)
            elif self.by_name.setdefault(name, value) is not value:
                raise ConfigError(
                    f"metrics(model, batch) returned another object for {name!r} than before; make it once, and keep it"
                )
            else:
                self._register(name, value)
        return rest

    def _register(self, name: str, metric: Any) -> None:
        if any(metric is known for known in self.run.metric_objects):
            return
        self.run.metric_objects.append(metric)
        if self.parallel.world_size > 1 and not has_own_sync(metric) and not hasattr(metric, "merge_state"):
            raise ConfigError(
                f"{self.parallel.name}: the metric {name!r} ({type(metric).__name__}) cannot be computed over several ranks: it "
                "has neither sync() (torchmetrics) nor merge_state(others) (torcheval); give it one, or return (sum, count) pairs"
            )

    @contextmanager
    def unmoved(self, apply: bool) -> Iterator[None]:
        """Give a context in which no object counts what it is given, if `apply`: a batch that only lets a rank take part."""
        if not apply:
            yield
            return
        before = [(metric, _state(metric)) for metric in self.run.metric_objects]
        yield
        for metric in self.run.metric_objects:
            state = next((state for known, state in before if known is metric), None)
            metric.reset() if state is None else vars(metric).update(state)

    def compute(self, names: list[str]) -> dict[str, float]:
        """Return the results over all batches of all ranks, by name. Every rank must call it, with the same names.

        Raises:
            ConfigError: for a result that is neither a number nor a dict of numbers.
        """
        numbers: dict[str, float] = {}
        for name in names:
            self.parallel.confirm()
            result = self._over_all_ranks(self.by_name[name]).compute()
            results = _named(name, result) if isinstance(result, Mapping) else {name: result}
            for key, value in results.items():
                if key in numbers or not key:
                    raise ConfigError(f"metrics(model, batch): {key!r} names no result, or two; return {{name: object}}")
                numbers[key] = float(scalar(key, value, self.run.device, "the metric object", SCALAR_FIX))
        return numbers

    def _over_all_ranks(self, metric: Any) -> Any:
        if self.parallel.world_size == 1 or has_own_sync(metric):
            return metric
        first, *others = self.parallel.gather(metric)  # copies, by pickle
        first.merge_state(others)
        return first


def _named(name: str, results: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a dict of results, each name after that of the object, if it has one."""
    return {f"{name}_{key}" if name else str(key): value for key, value in results.items()}


def _state(metric: Any) -> dict[str, Any]:
    """Return copies of an object's attributes, apart from its methods."""
    return {key: deepcopy(value) for key, value in vars(metric).items() if isinstance(value, Tensor) or not callable(value)}
