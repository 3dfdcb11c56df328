import subprocess
import sys
from pathlib import Path


def test_the_experiment_trains(tmp_path):
    program = Path(__file__).parents[1] / "src/train.py"
    command = [sys.executable, program, "experiment=first", "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}"]
    subprocess.run(command, check=True)
    assert (tmp_path / "checkpoints/last.ckpt").exists()
