"""WandB: a watch that hands the curves of a run to Weights & Biases, online or offline.

`mode=offline` needs no network and no account: the run lies in `wandb/` of the
run directory, and `wandb sync DIR` uploads it later. With `mode: null` it is
online if WANDB_MODE says so or somebody has logged in on this machine, and
offline otherwise; the last lines of the run say which. The settings of the run
are its config (`task.width`, `plugins.amp.dtype`), with versions, host, command
and git revision under `accel`; the result is its summary. The step is the
update.

A point is handed over when a checkpoint that holds it is on the disk, because
wandb's history forgets none: `checkpoint.every` or `checkpoint.minutes` let you
see more. A resumed run goes on in the same run of wandb, without doubled or
missing points, also after `kill -9`. One that goes back behind what wandb has
begins another run there, with all points up to then.

Helps   watching runs from afar, and comparing those of a team.
Hurts   nothing; a run without a directory writes nothing.
Costs   less than `tensorboard` takes to write a block (benchmarks/trackers.py).
        wandb takes half a second to import, and works in a process of its own.
        The end of a run waits for it, up to `patience`; the training never does,
        and a network that is away is asked again and again. What wandb has not
        taken at the end is in
        `trackers/wandb.jsonl`; a resumed run hands it over.
Source  https://docs.wandb.ai/models/track
Exact   An offline run cannot be asked what it has. So a resumed run writes it
        anew, with all points, and removes the directory that was there, unless
        that has been synced: then it begins another run. Online, wandb says at
        which update it stands.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from accel.parts.shared.trackers.delivered_tracker import DeliveredTracker
from accel.parts.shared.trackers.tracker import Point
from accel.system.machine import Need
from accel.system.shell_quoting import command_line

__all__ = ["WandB", "is_logged_in"]


@dataclass(eq=False)
class WandB(DeliveredTracker):
    """Tracker that hands the points to wandb, with the settings of `Tracker` and `DeliveredTracker`.

    Args:
        mode: where it writes to; null is online for somebody who has logged in, else offline.
        project: wandb's project.
        entity: user or team of wandb; null for its default.
        run_name: name of the run; null for that of its directory.
        group: group of runs; null for the directory of a multirun.
        tags: tags of the run, a list.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("package:wandb", extra="wandb"),)

    mode: Literal["online", "offline"] | None = None
    project: str = "accel"
    entity: str | None = None
    run_name: str | None = None
    group: str | None = None
    tags: list | None = None  # type: ignore[type-arg]

    def prepare(self) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.wandb = wandb

    def can_resume(self, run: str) -> bool:
        synced = Path(self.description.out).glob(f"wandb/offline-run-*-{run}/*.synced")
        return not (self.is_offline() and any(synced))  # what a server has it keeps

    def connect(self, run: str, left: str) -> bool:
        offline = self.is_offline()
        if offline:
            self.remove_unsynced()
        self.writer = self.wandb.init(
            id=run, resume="allow", mode="offline" if offline else "online", dir=self.description.out, project=self.project,
            entity=self.entity, name=self.run_name or self.description.name, group=self.group or self.multirun(), tags=self.tags,
            settings=self.wandb.Settings(console="off", silent=True, init_timeout=30, save_code=False),
        )  # fmt: skip
        self.first, self.directory = self.writer.step, Path(self.writer.dir).parent
        config = {**self.description.parameters, **{f"accel.{name}": value for name, value in self.description.facts.items()}}
        self.writer.config.update(config, allow_val_change=True)
        self.url = "" if offline else str(self.writer.url)
        return bool(self.writer.resumed)

    def is_offline(self) -> bool:
        """Return whether the run is written to disk alone."""
        mode = self.mode or os.environ.get("WANDB_MODE") or ("online" if is_logged_in() else "offline")
        return mode not in ("online", "shared")

    def multirun(self) -> str | None:
        """Return the name of the directory of a multirun; None for a run alone."""
        return self.description.group if Path(self.description.out).name.isdigit() else None

    def remove_unsynced(self) -> None:
        """Remove what earlier processes wrote offline, all of which is written anew. What was synced stays."""
        for folder in Path(self.description.out).glob("wandb/offline-run-*"):
            if not any(folder.glob("*.synced")):
                shutil.rmtree(folder, ignore_errors=True)

    def lacking(self, points: list[Point]) -> list[Point]:
        return [point for point in points if point.step >= self.first]

    def send(self, points: list[Point]) -> None:
        for point in points:
            self.writer.log({**point.values, "_timestamp": point.time}, step=point.step)

    def finish(self) -> None:
        self.writer.summary.update({f"result.{name}": value for name, value in self.summary.items()})
        self.writer.finish(exit_code=self.exit_code)

    def give_up(self) -> None:
        service = getattr(getattr(self.wandb.setup(), "_connection", None), "_proc", None)
        process = getattr(service, "_process", None)  # wandb has no public way to end it, and Python would wait for it at its exit
        if process is not None:
            process.kill()
            process.wait()
            with suppress(Exception, SystemExit):  # it tells the process to end, which is gone, and takes its exit code for its own
                self.wandb.teardown()

    def place(self) -> str:
        return self.url or f"offline; upload it with {command_line(['wandb', 'sync', str(self.directory)])}"


def is_logged_in() -> bool:
    """Return whether this machine has a key for wandb's server, in an environment variable or in the file of `wandb login`."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc(os.environ.get("NETRC") or Path.home() / ".netrc").authenticators(host) is not None
    except (OSError, NetrcParseError, RuntimeError):
        return False
