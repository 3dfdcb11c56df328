"""Count the exit codes of short runs under torchrun: `python benchmarks/torchrun_ends.py [RUNS] [RANKS]`.

A process that has trained may still end badly, where a thread of gloo outlives Python ("terminate called without an active
exception", exit code 1). Each run here starts torchrun anew, trains for a few updates with the plugin ddp, and ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["SCRIPT", "main", "run_once"]

SCRIPT = """
import torch
from torch import nn
from torch.utils.data import TensorDataset
from accel import Trainer
from accel.plugins.ddp import DDP

points = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
Trainer(
    nn.Linear(8, 3), TensorDataset(points, points.argmax(1) % 3), watch=(), batch_size=8, epochs=2, plugins=[DDP()], device="cpu",
    loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
).fit()
"""


def run_once(script: Path, ranks: int) -> tuple[int, str]:
    """Return the exit code of torchrun, which is not 0 if any rank's is not, and what was printed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", str(script)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def main(runs: int, ranks: int) -> None:
    """Print how often each exit code came, and what the first bad run said."""
    codes: Counter[int] = Counter()
    with TemporaryDirectory() as folder:
        script = Path(folder, "train.py")
        script.write_text(SCRIPT)
        for number in range(1, runs + 1):
            code, text = run_once(script, ranks)
            codes[code] += 1
            if code and codes[code] == 1:
                print(text, flush=True)
            print(f"{number} runs of {ranks} ranks: exit codes {dict(codes)}", flush=True)


if __name__ == "__main__":
    main(*(int(word) for word in (sys.argv[1:] + ["200", "2"][len(sys.argv) - 1 :])))
