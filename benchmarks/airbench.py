"""The recipe `+experiment=cifar10_94` on a CPU, beside the script that it comes from (airbench94): seconds of training.

git clone https://github.com/KellerJordan/cifar10-airbench /tmp/airbench
python benchmarks/airbench.py ROOT --script /tmp/airbench/legacy/airbench94.py --out benchmarks/results/DATE-airbench.json
python benchmarks/airbench.py ROOT --script ... --rounds 1 --add --out ...       # one round more

ROOT/train/<class>/*.jpg and ROOT/test/<class>/*.jpg. Both train on the same pictures, the first of each class, in one epoch of
their whole schedule.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import types
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, ClassVar

import machine
from results import save
from spread import shown, spread

from accel.report.other_load import OtherLoad

HERE = Path(__file__).parent
PACKAGES = ["torch", "accel-train", "pillow"]
BATCH = 1024
"""Pictures of a batch in both; the recipe by itself has 1000."""
UPDATES, TESTED = 12, 2000
"""Updates of a run, about a quarter of an epoch, and test pictures, each seen in six views."""
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62), "MALLOC_TOP_PAD_": str(2**26)}
"""What makes glibc keep memory, as the plugin backend does by itself."""
CHANGES = [
    ("import torchvision\n", ""),
    ("import torchvision.transforms as T\n", ""),
    ("gpu=0", "gpu='cpu'"),
    ("self.images.half() / 255", "self.images.float() / 255"),
    ("net.half().cuda()", "net.float()"),
    ("'train_epochs': 9.9", "'train_epochs': 1"),
    ("torch.cuda.synchronize()", "pass"),
    ("outputs = model(inputs)", "outputs = in_bfloat16(model, inputs)"),
    ("net(inputs).clone()", "in_bfloat16(net, inputs)"),
    ("0.5 * net(inputs) + 0.5 * net(inputs.flip(-1))", "0.5 * in_bfloat16(net, inputs) + 0.5 * in_bfloat16(net, inputs.flip(-1))"),
]
"""What the script says, and what it must say on a CPU: bfloat16 by autocast in place of float16 weights, and one epoch."""


class Event:
    """The CUDA event of the script, by the clock of the host."""

    seconds: ClassVar[list[float]] = []
    """What was timed: setting the first convolution, training, and evaluation."""

    def __init__(self, enable_timing: bool) -> None:
        del enable_timing

    def record(self) -> None:
        self.time = perf_counter()

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds."""
        self.seconds.append(end.time - self.time)
        return 1000 * self.seconds[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="the folder of the pictures")
    parser.add_argument("--script", type=Path, required=True, help="legacy/airbench94.py of that repository")
    parser.add_argument("--rounds", type=int, default=3, help="each runs every arm once, in random order")
    parser.add_argument("--add", action="store_true", help="keep the runs that --out has")
    parser.add_argument("--run", nargs=2, metavar=("ARM", "SEED"), help=argparse.SUPPRESS)  # one run, in a process of its own
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    if args.run:
        seed = int(args.run[1])
        print(json.dumps(recipe(args.root, seed) if args.run[0] == "accel" else by_script(args.script, args.root, seed)))
        return
    head = machine.facts(threads=None, packages=PACKAGES)
    earlier = json.loads(args.out.read_text()) if args.add and args.out.exists() else None
    runs: dict[str, list[dict[str, Any]]] = earlier["arms"] if earlier else {name: [] for name in ARMS}
    with TemporaryDirectory() as folder:
        link_pictures(args.root, Path(folder))
        apart("accel", args, Path(folder), 0, note="decodes the pictures once; not counted")
        for _ in range(args.rounds):
            seed = len(runs["accel"])
            made = {name: apart(name, args, Path(folder), seed) for name in random.Random(seed).sample(list(ARMS), len(ARMS))}
            for name, run in made.items():
                runs[name].append(run)
            result = {"schema": 1, "benchmark": "airbench", "unit": "seconds of training", **head, "arms": runs}
            save(result, table(result), args.out)


ARMS: dict[str, dict[str, str]] = {"script": {}, "script, memory kept": KEPT, "accel": {}}
"""The environment of each."""


def link_pictures(root: Path, folder: Path) -> None:
    """Links to as many pictures as are trained on and tested, as many of each class as of the others, or one more."""
    for split, number in (("train", BATCH * UPDATES), ("test", TESTED)):
        classes = sorted(path for path in (root.resolve() / split).iterdir() if path.is_dir())
        for place, each in enumerate(classes):
            (folder / split / each.name).mkdir(parents=True)
            for picture in sorted(each.iterdir())[: number // len(classes) + (place < number % len(classes))]:
                (folder / split / each.name / picture.name).symlink_to(picture)


def apart(name: str, args: argparse.Namespace, folder: Path, seed: int, note: str = "") -> dict[str, Any]:
    """One run in a process of its own. Raises SystemExit where it fails."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "KMP_", "MALLOC_"))}
    env |= ARMS[name] | {"PYTHONPATH": str(HERE.parent), "CUDA_VISIBLE_DEVICES": ""}
    words = [sys.executable, __file__, str(folder), "--script", str(args.script), "--run", name, str(seed)]
    load = OtherLoad()
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) | {"others": load.percent()}
    print(name, figures, note, file=sys.stderr, flush=True)
    return figures


def recipe(root: Path, seed: int) -> dict[str, Any]:
    """accel's recipe."""
    import accel
    from accel.parts import Run, Watch
    from accel.system.clock import EVALUATION

    class Marks(Watch):
        """The clock at the beginning and after the evaluation."""

        def begin(self, run: Run) -> None:
            self.clock, self.began = run.clock, perf_counter()

        def evaluated(self, epoch: int, metrics: dict[str, float]) -> None:
            now = perf_counter()
            self.accuracy = metrics["accuracy"]
            self.evaluation = self.clock.spent[EVALUATION] + now - self.clock.since
            self.training = now - self.began - self.evaluation

    marks = Marks()
    words = ["+experiment=cifar10_94", "epochs=1", "device=cpu", f"batch_size={BATCH}", f"task.root={root}", f"seed={seed}"]
    accel.compose(words).trainer(watch=[marks]).fit()
    return {"training": marks.training, "evaluation": marks.evaluation, "accuracy": marks.accuracy}


def by_script(script: Path, root: Path, seed: int) -> dict[str, Any]:
    """The script, changed as `CHANGES` says, on the same pictures. Raises SystemExit if it is not the script that is meant."""
    import torch

    text = script.read_text()
    for before, after in CHANGES:
        if before not in text:
            sys.exit(f"{script} is not legacy/airbench94.py as it was: it has no {before!r}")
        text = text.replace(before, after)
    save_pictures(root)
    torch.cuda.Event = Event  # type: ignore[assignment,misc]
    torch.manual_seed(seed)
    module = types.ModuleType("airbench94")
    module.__dict__.update(T=types.SimpleNamespace(Normalize=normalizer), in_bfloat16=in_bfloat16)
    exec(compile(text, str(script), "exec"), module.__dict__)
    accuracy = module.main(0)
    _, training, evaluation = Event.seconds
    return {"training": training, "evaluation": evaluation, "accuracy": accuracy}


def in_bfloat16(net: Any, inputs: Any) -> Any:
    """The network's outputs, float32, by autocast."""
    import torch

    with torch.autocast("cpu", torch.bfloat16):
        return net(inputs).float()


def normalizer(mean: Any, std: Any) -> Any:
    """torchvision's transform: by channel."""
    mean, std = mean.view(3, 1, 1), std.view(3, 1, 1)
    return lambda pictures: (pictures - mean) / std


def save_pictures(root: Path) -> None:
    """The pictures in the files that the script keeps them in."""
    import numpy as np
    import torch
    from PIL import Image

    for split in ("train", "test"):
        file = Path("cifar10") / f"{split}.pt"
        if file.exists():
            continue
        file.parent.mkdir(exist_ok=True)
        classes = sorted(path for path in (root / split).iterdir())
        paths = [(path, number) for number, each in enumerate(classes) for path in sorted(each.iterdir())]
        random.Random(0).shuffle(paths)
        images = torch.stack([torch.from_numpy(np.array(Image.open(path))) for path, _ in paths])
        labels = torch.tensor([number for _, number in paths])
        torch.save({"images": images, "labels": labels, "classes": [each.name for each in classes]}, file)


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# airbench94 on a CPU",
        "",
        f"One epoch of {UPDATES} batches of {BATCH} pictures of CIFAR-10, a quarter of it, in bfloat16 by autocast: the script "
        f"and `+experiment=cifar10_94`. Accuracy on {TESTED:,} test pictures in six views each. Seconds of training, without "
        "setting the first convolution and without evaluation; each run is a process of its own, the arms take turns in random "
        "order. Median (10th .. 90th percentile). *others*: the most that other programs took of the cores in any run.",
        "",
        machine.sentence(result),
        "",
        "| arm | n | training, s | evaluation, s | accuracy | others |",
        "|---" * 6 + "|",
    ]
    for name, runs in result["arms"].items():
        training, evaluation, accuracy = (spread([run[key] for run in runs]) for key in ("training", "evaluation", "accuracy"))
        others = max(run["others"] or 0.0 for run in runs)
        lines.append(f"| {name} | {len(runs)} | {shown(training)} | {shown(evaluation)} | {shown(accuracy, 3)} | {others:.0f} % |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
