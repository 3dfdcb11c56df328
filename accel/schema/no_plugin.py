"""What was given in `plugins=` and is no plugin: torch's optimisers and schedules, callbacks, and what to write in their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accel.errors import describe

__all__ = ["KINDS", "OPTIMISERS", "SCHEDULES", "refusal_of"]

OPTIMISERS = {
    "adam": "AdamW", "lamb": "LAMB", "lars": "LARS", "larc": "LARS", "muon": "Muon", "schedulefree": "ScheduleFree", "sgd": "SGD",
}  # fmt: skip
"""By words in the name of an optimiser, the class of `accel.plugins` that does the same; the first that fits counts."""
SCHEDULES = {"onecycle": "OneCycle", "cyclic": "Cyclic", "cos": "Cosine"}
"""The same for schedules of the learning rate."""
OWN = "make a plugin of it (a subclass of accel.parts.{part}; docs/guides/own-plugin.md)"
BY_NAME = {"Optim": ("Optimizer", {"Optimizer"}), "Schedule": ("Scheduler", {"LRScheduler", "_LRScheduler"})}
"""The class of `accel.plugins` that takes any of torch's own kind, by its part, and how that kind is known by its bases."""

KINDS: tuple[tuple[str, str, dict[str, str], Callable[[Any, set[str]], bool]], ...] = (
    ("a schedule of the learning rate", "Schedule", SCHEDULES, lambda kind, names: bool({"LRScheduler", "_LRScheduler"} & names)
     or ("Scheduler" in names and hasattr(kind, "step_update"))),
    ("an optimiser", "Optim", OPTIMISERS, lambda kind, names: "Optimizer" in names or {"step", "zero_grad"} <= set(dir(kind))),
    ("a scaler of gradients", "Precision", {"": 'AMP(dtype="float16")'}, lambda _, names: "GradScaler" in names),
    ("a model", "", {}, lambda _, names: "Module" in names),
    ("data", "", {}, lambda _, names: bool({"Dataset", "DataLoader"} & names)),
    ("a callback", "Watch", {}, lambda kind, names: any(name.endswith("Callback") for name in names)
     or any(name.startswith(("on_train_", "on_epoch_", "on_fit_")) for name in dir(kind))),
)  # fmt: skip
"""What is mistaken for a plugin: its name, the part that does its work, plugins for it, and how it is known by its bases."""


def refusal_of(value: Any) -> str:
    """Return the sentence about something that is no plugin: a class or an object of any kind."""
    kind = value if isinstance(value, type) else type(value)
    name, bases = kind.__name__, {base.__name__ for base in kind.__mro__}
    if "Part" in bases:
        hint = f"; write {name}()" if isinstance(value, type) else ""
        return f"{name} is not a plugin: an instance of a subclass of one part{hint}"
    for words, part, plugins, fits in KINDS:
        if fits(kind, bases):
            return f"{name} is {words}, and no plugin{_instead(name, part, plugins, bases)}"
    if callable(value) and not isinstance(value, type) and hasattr(value, "__name__"):
        return f"{value.__name__} is a function, and no plugin; give an instance of one, such as AMP(), or its name, 'amp'"
    return f"{describe(value)} is no plugin; give an instance of one, such as AMP(), or its name, 'amp'"


def _instead(name: str, part: str, plugins: dict[str, str], bases: set[str]) -> str:
    """Return the clause that says what to write in place of a class called `name`, which has these bases."""
    if not part:
        return "; pass it by its own argument: model=, data= or val="
    plain = name.lower().replace("_", "")
    same = next((plugin for word, plugin in plugins.items() if word in plain), "")
    wrapper, kinds = BY_NAME.get(part, ("", set()))
    if kinds & bases and name not in kinds:
        return f"; write {f'{same}(...) of accel.plugins, or ' if same else ''}{wrapper}({name}, ...) of accel.plugins"
    others = same or " or ".join(dict.fromkeys(plugins.values()))
    own = OWN.format(part=part)
    return f"; write {others}{'(...)' * (bool(same) and '(' not in same)} of accel.plugins, or {own}" if others else f"; {own}"
