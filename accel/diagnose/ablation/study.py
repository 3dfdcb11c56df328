"""The course of an ablation: what is measured, in which order, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch

from accel.compare import NEGLIGIBLE, LossDifference, SpeedRatio, decide, loss_difference
from accel.device.out_of_memory import is_out_of_memory
from accel.diagnose.ablation.ablated_plugins import Candidate, judged_by, needs_process
from accel.diagnose.ablation.arm import Arm
from accel.diagnose.ablation.bench import Bench, Names
from accel.diagnose.ablation.contribution import Ablation, Contribution
from accel.errors import ConfigError, TrainingError
from accel.parts import Part
from accel.report.comparison import MARGIN
from accel.report.other_load import OtherLoad

__all__ = ["LEAST_UPDATES", "LOSS_SECONDS", "MOST_UPDATES", "NOTHING", "Study"]

LOSS_SECONDS, LEAST_UPDATES, MOST_UPDATES = 4.0, 20, 300
"""Seconds of a training whose loss is compared, and its updates at least and at most, if nobody says how many."""
NOTHING: Names = frozenset()


@dataclass
class Study:
    """Ablation under way.

    Args:
        bench: measures.
        plugins: of the run, by name.
        seeds: runs of each way whose losses are compared; 0 to compare none.
        updates: updates after which losses are compared; None for as many as take some seconds.
        report: called with a line about each step.
    """

    bench: Bench
    plugins: Mapping[str, Part]
    seeds: int
    updates: int | None
    report: Callable[[str], None]

    def run(self, chosen: Sequence[Candidate]) -> Ablation:
        """Measure everything, and return it. Raise ConfigError if the run cannot work with all of its plugins."""
        load, started = OtherLoad(), perf_counter()
        self.report(f"building the run with {', '.join(self.plugins)}")
        full = self.bench.hold(frozenset(self.plugins))
        chosen = self.without_skipped(chosen, full)
        fitting = round(LOSS_SECONDS / full.update_seconds)
        self.horizon = self.updates or min(MOST_UPDATES, max(LEAST_UPDATES, fitting))
        self.memory = full.peak_bytes()
        contributions = []
        for index, candidate in enumerate(chosen, start=1):
            self.report(f"{index} of {len(chosen)}: {'+'.join(candidate)}")
            contributions.append(self.contribution(candidate))
        together = self.together(contributions)
        kept, kept_speed = self.choose(contributions)
        facts = {"device": str(full.run.device), "torch": torch.__version__, "threads": str(torch.get_num_threads())}
        updates = self.horizon if self.seeds else 0
        changing = tuple(shape.name for shape in full.run.parts.shapes().values() if shape.changes_model())
        return Ablation(
            tuple(contributions), together, kept, kept_speed, "", updates, self.seeds, self.memory, facts, load.percent(),
            perf_counter() - started, changing,
        )  # fmt: skip

    def without_skipped(self, chosen: Sequence[Candidate], full: Arm) -> list[Candidate]:
        """Return what is left out without plugins that a bundle asked for and that this machine cannot run.

        Raises:
            ConfigError: if none is left.
        """
        skipped = {row.plugin for row in full.run.plan.rows if row.status.startswith("skipped")}
        self.plugins = {name: plugin for name, plugin in self.plugins.items() if name not in skipped}
        self.all = frozenset(self.plugins)
        self.bench.held[self.all] = full
        kept = [tuple(name for name in candidate if name not in skipped) for candidate in chosen]
        if not any(kept):
            raise ConfigError("every plugin was left out already, for none can run here; name others")
        return [candidate for candidate in kept if candidate]

    def contribution(self, candidate: Candidate) -> Contribution:
        """Measure what these plugins bring beside all others, and alone."""
        names, apart = frozenset(candidate), needs_process(candidate, self.plugins)
        rest, refusals = self.all - names, list[str]()
        kind, label = judged_by(candidate, self.plugins), "+".join(candidate)
        loss, saved, share = None, None, 0.0
        speed = self.attempt(lambda: self.speed(rest, self.all, apart, "beside the others"), f"without {label}", refusals)
        if speed is not None:
            without = self.bench.hold(rest).peak_bytes()
            if without is not None and self.memory is not None:
                saved, share = self.memory - without, self.memory / max(without, 1) - 1
            loss = self.loss(rest, speed if kind == "loss" else None) if self.seeds else None
        self.release(rest)
        alone = speed
        if rest:
            alone = self.attempt(lambda: self.speed(NOTHING, names, apart, "alone"), f"{label} alone", refusals)
            self.release(names)
        negligible = MARGIN if apart else NEGLIGIBLE
        return Contribution(candidate, kind, speed, alone, loss, saved, share, negligible, "; ".join(refusals))

    def release(self, names: Names) -> None:
        """Give up a run, but the one with all plugins and the one with none, which are needed again."""
        if names not in (self.all, NOTHING):
            self.bench.release(names)

    def speed(self, base: Names, other: Names, apart: bool, what: str) -> SpeedRatio:
        """Return how many times faster the run is with `other` than with `base`, and report it as `what`."""
        ratio = self.bench.speed_apart(base, other) if apart else self.bench.speed(base, other)
        self.report(f"    {what}: {ratio.ratio:.3f} times as fast ({ratio.low:.3f} to {ratio.high:.3f}), {ratio.rounds} rounds")
        return ratio

    def attempt(self, measure: Callable[[], SpeedRatio], what: str, refusals: list[str]) -> SpeedRatio | None:
        """Return what is measured; None, and a sentence in `refusals`, if such a run cannot be or go on, or is too large."""
        try:
            return measure()
        except (ConfigError, TrainingError) as error:
            refusals.append(f"{what}: {error}")
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            refusals.append(f"{what}: the run does not fit in memory")
        return None

    def loss(self, rest: Names, speed: SpeedRatio | None) -> LossDifference:
        """Return the loss with all plugins less that with `rest`.

        Args:
            rest: the plugins of the base.
            speed: of all plugins over `rest`, to compare after equal time; None to compare after equal updates.
        """
        self.report(f"    {self.seeds} trainings with and without, for the loss")
        updates = self.horizon
        if speed is not None:
            samples = self.bench.hold(self.all).update_samples / self.bench.hold(rest).update_samples
            updates = max(1, round(self.horizon * samples / speed.ratio))
        return loss_difference(self.bench.losses(rest, updates, self.seeds), self.bench.losses(self.all, self.horizon, self.seeds))

    def together(self, contributions: Sequence[Contribution]) -> SpeedRatio | None:
        """Return how many times faster all plugins make the run; None if it cannot be without any."""
        if len(contributions) == 1:
            return contributions[0].alone
        self.report("all together")
        apart = any(needs_process(one.plugins, self.plugins) for one in contributions)
        return self.attempt(lambda: self.speed(NOTHING, self.all, apart, "with all"), "without any", [])

    def choose(self, contributions: Sequence[Contribution]) -> tuple[tuple[str, ...], SpeedRatio | None]:
        """Return the plugins to keep, and the speed with them alone over that with all.

        What is harmful goes. What brings nothing goes too, if the run without all of it is not slower: of two that do the same
        work, neither brings anything beside the other.
        """
        useful = [one for one in contributions if one.verdict != "harmful"]
        lean = [one for one in useful if one.verdict != "neutral" or one.judged_by == "loss" or one.saves_memory]
        for kept in [lean, useful] if lean != useful else [useful]:
            names = tuple(name for one in kept for name in one.plugins)
            gone = [one for one in contributions if one not in kept]
            if not gone:
                return names, None
            speed = self.kept_speed(frozenset(names), gone)
            if kept is useful or (speed is not None and decide(speed, negligible=gone[0].negligible) != "harmful"):
                return names, speed
        return tuple(self.plugins), None

    def kept_speed(self, kept: Names, gone: Sequence[Contribution]) -> SpeedRatio | None:
        """Return the speed with the kept plugins alone over that with all, as it is known already if one alone has gone."""
        if len(gone) == 1:
            return None if gone[0].speed is None else gone[0].speed.inverse
        self.report(f"without {', '.join(one.name for one in gone)}")
        apart = any(needs_process(one.plugins, self.plugins) for one in gone)
        return self.attempt(lambda: self.speed(self.all, kept, apart, "with the rest"), "without them", [])
