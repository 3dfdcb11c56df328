"""The arms of ship.py: one small network, and what training can do to make it smaller, faster or better."""

from __future__ import annotations

from dataclasses import dataclass

from accel.schema import plugin_registry
from accel.system.machine import lacks_bf16

TEACHER, PLAIN = "teacher", "plain"
RECIPE = [
    "plugins.resident.flip=alternate", "plugins.resident.pad=2", "plugins.muon.lr=0.1", "plugins.muon.adamw_lr=0.02",
    "plugins.muon.momentum=0.8", "plugins.muon.weight_decay=0.0", "plugins.onecycle.max_lr=0.1", "plugins.onecycle.anneal=linear",
    "plugins.onecycle.pct_start=0.23", "plugins.onecycle.div_factor=5.0", "batch_size=128",
]  # fmt: skip
"""What all arms have."""
PLUGINS = ("resident", *(() if lacks_bf16() else ("amp",)), "channels_last", "muon", "onecycle")
"""Plugins of all arms: without amp where the processor would emulate bfloat16, several times slower than float32."""
STUDENT = ["task.model=strided_convnets.Student"]
TRAINED_ON = [
    "task.model=strided_convnets.Student", "init={plain}", "plugins.muon.lr=0.03", "plugins.muon.adamw_lr=0.006",
    "plugins.onecycle.max_lr=0.03",
]  # fmt: skip
"""A plain student of the same seed that trains on, at a third of the rate."""
CUT = [*STUDENT, "init={plain}", "plugins.prune.ratio=0.37", "plugins.prune.end=0"]
"""A plain student of the same seed, of which somewhat less than half of the operations are left. It trains on as plain did."""
DISTILL = ["plugins.distill.teacher={teacher}", "plugins.distill.temperature=2", "plugins.distill.weight=0.5"]


@dataclass(frozen=True)
class Arm:
    """A run, as it is typed.

    Args:
        about: what it is, in words.
        words: its overrides beside `RECIPE`; {teacher} and {plain} are the directories of those runs.
        epochs: how long it trains. It is evaluated at the end alone.
        plugins: its plugins beside `PLUGINS`.
    """

    about: str
    words: list[str]
    epochs: int
    plugins: tuple[str, ...] = ()

    @property
    def needs(self) -> set[str]:
        """The arms that must have run before."""
        return {name for name in (TEACHER, PLAIN) if any(f"{{{name}}}" in word for word in self.words)}

    def overrides(self, epochs: int | None = None) -> list[str]:
        """Return all of its overrides, apart from folders and the seed. `epochs` is another length."""
        epochs = epochs or self.epochs
        plugins = ",".join((*PLUGINS, *self.plugins))
        return ["task=images", f"+plugins=[{plugins}]", *RECIPE, *self.words, f"epochs={epochs}", f"evaluate.epochs={epochs}"]

    def missing(self) -> str:
        """Return why it cannot run here, or nothing: a plugin that accel does not have, or what a plugin needs is not installed."""
        known = plugin_registry.targets()
        for name in self.plugins:
            if name not in known:
                return f"accel has no plugin {name}"
            signature = plugin_registry.plugin_signature(name)
            settings = {key: setting.default for key, setting in signature.settings.items()}
            for need in signature.needs:
                if reason := need.unmet_reason(settings, "cpu"):
                    return f"{name} {reason}"
        return ""


ARMS = {
    TEACHER: Arm("twice as wide", ["task.model=strided_convnets.Teacher"], 3),
    PLAIN: Arm("the student", STUDENT, 2),
    "distilled": Arm("the student, with the teacher", [*STUDENT, *DISTILL], 2, ("distill",)),
    "reparam": Arm("the student, with branches", STUDENT, 2, ("reparam",)),
    "trained_on": Arm("plain, trained on: what qat and the low bits are compared with", TRAINED_ON, 1),
    "pruned": Arm("plain, half of its operations cut out, trained on", CUT, 2, ("prune",)),
    "pruned_distilled": Arm("the same, with the teacher", [*CUT, *DISTILL], 2, ("prune", "distill")),
    "qat": Arm("plain, trained on with fake quantisation, 8 bits", TRAINED_ON, 1, ("qat",)),
    "ternary": Arm("plain, trained on with ternary weights (twn)", [*TRAINED_ON, "plugins.lowbit.kind=twn"], 1, ("lowbit",)),
    "binary": Arm("plain, trained on with binary weights (bwn)", [*TRAINED_ON, "plugins.lowbit.kind=bwn"], 1, ("lowbit",)),
}


def with_needs(names: list[str]) -> list[str]:
    """Return the arms that are asked for and those that must run before, in the order of `ARMS`."""
    chosen = {name for asked in names for name in (asked, *ARMS[asked].needs)}
    return [name for name in ARMS if name in chosen]
