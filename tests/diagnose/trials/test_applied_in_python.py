"""`accel.doctor(trainer, apply=True)`: the diagnosis has what came of each remedy, and the trainer stays as it is."""

from __future__ import annotations

from multiprocessing import process

import pytest
import torch
from torch import nn

import accel
from accel import Trainer
from accel.compare import Limits
from accel.diagnose import doctor as doctor_module
from accel.diagnose.decision.remedies import Possible, Remedy
from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.trials import remedy_trials
from accel.errors import ConfigError


def remedy(name: str, plugin: str) -> Remedy:
    return Remedy(Possible(name, f"plugins=[{plugin!r}]", ("compute",), overrides=Overrides((plugin,))), None, 9.0)


def made(model: nn.Module) -> Trainer:
    data = torch.utils.data.TensorDataset(torch.randn(64, 6), torch.arange(64) % 3)
    return Trainer(model, data, loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]), batch_size=4)


@pytest.mark.slow
def test_the_diagnosis_has_what_came_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that cannot be pickled is no obstacle: what switches nothing of the process is tried in this one."""
    monkeypatch.setattr(remedy_trials, "LIMITS", Limits(min_rounds=2, max_rounds=2, step=1))
    monkeypatch.setattr(doctor_module, "rank_remedies", lambda *args: [remedy("clip", "clip"), remedy("tf32", "backend")])
    model = nn.Linear(6, 3)
    trainer, weights = made(model), [weight.clone() for weight in model.parameters()]
    numbers, said = torch.get_rng_state(), list[str]()
    diagnosis = accel.doctor(trainer, seconds=1, apply=True, say=said.append)
    assert diagnosis.applied is not None
    clip, backend = diagnosis.applied.tried
    assert clip.speed is not None
    assert "cannot be sent to a process of its own" in backend.reason
    document = diagnosis.as_dict()
    assert [one["name"] for one in document["applied"]] == ["clip", "tf32"]
    assert "+plugins=[clip]: " in repr(diagnosis)
    assert "+plugins=[clip]: " in diagnosis._repr_html_()
    assert any(line.startswith("trying") for line in said)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert all(torch.equal(one, other) for one, other in zip(weights, model.parameters(), strict=True))
    assert trainer.plugins == ()


def test_a_script_that_begins_anew_in_each_process_is_told_the_line_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(ConfigError, match="__main__"):
        accel.doctor(made(nn.Linear(6, 3)))
