"""The runs that the drills strike: sets of settings and plugins by name, and which kind of drill each is for."""

from __future__ import annotations

from pathlib import Path

QUIET = ["~plugins.progress", "plugins.metrics.curves=false"]
TOY = ["task._target_=accel.testing.toy_run.Toy", "batch_size=4", "epochs=8", "checkpoint.every=4", *QUIET]
PICTURES = [
    "task=images", "task.root=PICTURES", "task.size=16", "task.crop=resized", "task.decoder=simplejpeg", "batch_size=8", "epochs=4",
    "checkpoint.every=4", *QUIET,
]  # fmt: skip
SPEED: dict[str, list[str]] = {
    "plain": TOY,
    "amp": [*TOY, "+plugins=[amp,adamw]"],
    "accumulate": [*TOY, "+plugins=[accumulate,adamw]", "plugins.accumulate.steps=4", "epochs=16"],
    "onecycle, ema": [*TOY, "+plugins=[onecycle,ema,adamw]"],
    "lamb": [*TOY, "+plugins=[lamb]"],
    "float16, overflows": [
        *TOY, "+plugins=[amp,adamw]", "plugins.amp.dtype=float16", "plugins.amp.force=true", "plugins.amp.growth_interval=2",
    ],
    "prefetch": [*PICTURES, "+plugins=[prefetch]"],
    "workers": [*PICTURES, "+plugins=[workers]", "plugins.workers.count=2"],
    "threads, tiled lmdb": [*PICTURES, "+plugins=[threads,lmdb]", "plugins.threads.count=2"],
    "all": [
        *PICTURES, "+plugins=[threads,lmdb,prefetch,amp,accumulate,onecycle,ema,lamb,clip,finite_guard,channels_last]",
        "plugins.threads.count=2", "plugins.accumulate.steps=2", "epochs=8",
    ],
}  # fmt: skip
"""Sets of what makes a run faster."""

HALVES = ["plugins.amp.dtype=float16", "plugins.amp.force=true", "plugins.amp.growth_interval=2"]


TAUGHT = ["plugins.distill.teacher=TEACHER"]


def blocks(*words: str, length: str = "epochs=4", task: str = "Blocks") -> list[str]:
    """A run of a task of `drill_tasks`, six updates an epoch."""
    return [f"task._target_=drill_tasks.{task}", "batch_size=4", length, "checkpoint.every=3", *QUIET, *words]


SHAPE: dict[str, list[str]] = {
    "freeze, thaw": blocks(
        "+plugins=[adamw,ema,constant]", "freeze=[{match:'stem.*',until:0.6},{match:'blocks.*',until:0.3},head.bias]",
    ),
    "freeze, thaw, float16": blocks(
        "+plugins=[amp,lamb,accumulate,average]", "freeze=[{match:'stem.*',until:0.5}]", "plugins.accumulate.steps=2", *HALVES,
    ),
    "init": blocks("+plugins=[adamw,linear]", "init=WEIGHTS", "init.strict=false", "init.rename={old.*:blocks.*}"),
    "average of the last": blocks("+plugins=[average,sgd,cyclic]", "plugins.average.last=3", "plugins.average.every=2"),
    "average of all": blocks("+plugins=[average,adamw]", "plugins.average.last=null", "plugins.average.start=0.4"),
    "objectives": blocks("+plugins=[sgd,polynomial,ema,norms]", task="Gan"),
    "objectives, float16": blocks("+plugins=[adamw,amp,finite_guard]", *HALVES, task="Gan"),
    "optimizer": blocks(
        "+plugins=[optimizer,step]", "plugins.optimizer.target=torch.optim.NAdam", "plugins.optimizer.args={weight_decay:0.01}",
    ),
    "scheduler": blocks(
        "+plugins=[sgd,scheduler]", "plugins.scheduler.target=torch.optim.lr_scheduler.OneCycleLR",
        "plugins.scheduler.args={max_lr:0.1,total_steps:updates}",
    ),
    "early_stop": blocks(
        "+plugins=[adamw,early_stop]", "evaluate.every=1", "plugins.early_stop.min_delta=9",
    ),
    "plateau": blocks(
        "+plugins=[adamw,plateau]", "evaluate.every=1", "plugins.plateau.patience=0", "plugins.plateau.cooldown=1",
        "plugins.plateau.threshold=0.5", "plugins.plateau.factor=0.5",
    ),
    "groups, layer_decay": blocks(
        "+plugins=[adamw,onecycle,clip]", "plugins.adamw.layer_decay=0.7",
        "plugins.adamw.groups=[{match:'head.*',lr:0.02,weight_decay:0},{match:'*.bias',lr_scale:2,beta1:0.8}]",
    ),
    "two sets, evaluate.every": blocks(
        "+plugins=[muon,ema]", "evaluate.every=2", "evaluate.epochs=1", "evaluate.batches=2", "checkpoint.best=min:test/loss",
        task="TwoSets",
    ),
    "updates": blocks("+plugins=[schedule_free]", length="updates=8"),
    "max_samples": blocks("+plugins=[adamw,wsd]", "plugins.wsd.decay=0.5", length="max_samples=30"),
    "reparam, fold_bn": blocks("+plugins=[reparam,fold_bn,adamw,ema]", task="Convolutions"),
    "reparam, float16": blocks(
        "+plugins=[reparam,fold_bn,amp,sgd,accumulate,average]", "plugins.reparam.kind=acnet", "plugins.accumulate.steps=2",
        "plugins.average.every=1", "plugins.average.batch_norm=0", *HALVES, task="Convolutions",
    ),
    "prune, twice": blocks(
        "+plugins=[prune,adamw,ema,clip]", "plugins.prune.end=0.6", "plugins.prune.steps=2", "plugins.prune.multiple=4",
    ),
    "prune by Taylor": blocks(
        "+plugins=[prune,sgd,accumulate,average]", "plugins.prune.importance=taylor", "plugins.prune.taylor_updates=2",
        "plugins.prune.scope=global", "plugins.prune.l1=1e-3", "plugins.accumulate.steps=2", "plugins.average.every=1",
        "plugins.average.batch_norm=0",
    ),
    "prune weights, float16": blocks(
        "+plugins=[prune,amp,lamb,ema]", "plugins.prune.mode=weights", "plugins.prune.end=0.7", "plugins.prune.steps=2", *HALVES,
    ),
    "distill": blocks(
        "+plugins=[distill,adamw,accumulate,ema]", *TAUGHT, "plugins.distill.hints=[stem,blocks.1]", "plugins.distill.anneal=true",
        "plugins.accumulate.steps=2",
    ),
    "distill, float16": blocks(
        "+plugins=[distill,sgd,amp,onecycle]", *TAUGHT, "plugins.distill.hints={blocks.0:blocks.2}", *HALVES,
    ),
    "qat": blocks("+plugins=[qat,adamw,accumulate,ema]", "plugins.accumulate.steps=2", "plugins.qat.begin=2"),
    "qat, float16": blocks("+plugins=[qat,amp,sgd,onecycle]", "plugins.qat.inputs=int8", *HALVES),
    "lowbit": blocks("+plugins=[lowbit,adamw,accumulate,ema]", "plugins.accumulate.steps=2"),
    "lowbit, four bits, float16": blocks(
        "+plugins=[lowbit,amp,sgd,onecycle]", "plugins.lowbit.kind=dorefa", "plugins.lowbit.weight_bits=4",
        "plugins.lowbit.input_bits=4", "plugins.lowbit.gradient_bits=6", *HALVES,
    ),
    "everything of shape": blocks(
        "+plugins=[amp,accumulate,average,optimizer,scheduler,early_stop,clip,norms]", "init=WEIGHTS", "init.strict=false",
        "init.rename={old.*:blocks.*}", "freeze=[{match:'stem.*',until:2}]", "plugins.average.every=1", "evaluate.every=2",
        "evaluate.batches=3", "checkpoint.best=max:test/confidence", "plugins.early_stop.metric=val/loss",
        "plugins.accumulate.steps=2",
        "plugins.optimizer.target=torch.optim.RAdam", "plugins.optimizer.groups=[{match:'head.*',lr:0.02}]",
        "plugins.optimizer.layer_decay=0.8", "plugins.scheduler.target=torch.optim.lr_scheduler.CosineAnnealingWarmRestarts",
        "plugins.scheduler.args={T_0:3}", length="updates=7", task="TwoSets",
    ),
}  # fmt: skip
"""Sets of what decides the shape of a run."""

SETS = {**SPEED, **SHAPE}
GROUPS = {"speed": list(SPEED), "shape": list(SHAPE)}
"""Names of several sets."""
WHERE: dict[str, list[str]] = {
    "kill": [name for name in SETS if name != "workers"],
    "update": list(SHAPE),
    "term": ["plain", "threads, tiled lmdb", "workers", "all", "everything of shape"],
    "corrupt": ["plain", "all", "everything of shape"],
    "disk": ["plain", "onecycle, ema", "everything of shape"],
    "worker": ["workers"],
}
"""The sets that each kind of drill is run on."""
QUICK_SETS = ("plain", "workers", "all")
"""The sets of `--quick`, of which each is run at least once; those that are killed after every update are all short."""
SHORT = ["batch_size=8", "checkpoint.every=1"]
"""Settings of a short run of `SHAPE`, which has three updates an epoch."""


def chosen(kind: str, only: list[str] | None, quick: bool) -> list[str]:
    """The sets that a kind of drill is run on.

    Args:
        kind: of drill.
        only: names to choose from, of sets or groups; None for all.
        quick: whether to choose from `QUICK_SETS`.
    """
    among = only or (list(QUICK_SETS) if quick and kind != "update" else list(GROUPS))
    among = [name for one in among for name in GROUPS.get(one, [one])]
    return [name for name in WHERE[kind] if name in among]


def words(name: str, short: bool, pictures: Path, weights: Path) -> list[str]:
    """The settings of a set.

    Args:
        name: of the set.
        short: whether a run is to write no report and to have four epochs, and one of `SHAPE` about five updates, the last of them
            within an epoch.
        pictures: the folder of the pictures.
        weights: the file of weights to begin with; the run of a teacher is beside it, in a folder of its name.
    """
    files = {"PICTURES": pictures, "WEIGHTS": weights, "TEACHER": weights.with_suffix("")}
    typed = [*SETS[name], *["plugins.metrics.report=false"] * short]  # which takes longer than a short run
    for what, file in files.items():
        typed = [word.replace(what, str(file)) for word in typed]
    if short and name in SHAPE:
        return [word.replace("epochs=4", "epochs=1.6") for word in typed] + SHORT
    return typed + ["epochs=4"] * short


def need(names: list[str], what: str) -> bool:
    """Whether one of the sets has a setting with `PICTURES`, `WEIGHTS` or `TEACHER` in it."""
    return any(what in word for name in names for word in SETS[name])
