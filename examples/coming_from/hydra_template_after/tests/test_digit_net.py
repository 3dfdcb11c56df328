from pathlib import Path

import accel

CONF = Path(__file__).parents[1] / "conf"


def test_the_first_experiment_learns(tmp_path):
    words = ["task=digit_net", "+experiment=first", "epochs=2", "device=cpu"]
    result = accel.compose(words, config_dir=str(CONF)).trainer(out=tmp_path / "run", watch=()).fit()
    assert result.metrics["accuracy"] > 0.8
