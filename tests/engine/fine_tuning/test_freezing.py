"""Parameters that are frozen, and thawed at an update."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from accel import Trainer, load
from accel.errors import ConfigError
from accel.parts import Part, Run, Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.master_weights import MasterWeights
from accel.plugins.onecycle import OneCycle
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.plugins.step_in_backward import StepInBackward
from accel.testing.graph_replay import taped_graph

UPDATES, PER_EPOCH = 9, 3
SETS: dict[str, Callable[[], list[Part]]] = {
    "adamw, ema, clip": lambda: [AdamW(lr=0.01, exclude="norm_and_bias"), EMA(decay=0.5), Clip(max_norm=0.1)],
    "groups, cycled betas": lambda: [AdamW(groups=[{"match": "0.*", "lr": 0.02}, {"match": "1.bias", "lr": 0.1}]), OneCycle()],
    "schedule_free": lambda: [ScheduleFree(warmup=0.0)],
    "master_weights, accumulate": lambda: [
        MasterWeights(dtype="float16", force=True, init_scale=1024.0), SGD(), EMA(), Accumulate(steps=2)
    ],
    "step_in_backward": lambda: [StepInBackward(), AdamW(fused=False)],
}  # fmt: skip


class Cut(Exception):
    """Ends a run in the middle, as a crash would."""


class Look(Watch):
    """Keeps copies of some tensors of the model after each update, and may end the run there."""

    def __init__(self, *names: str, stop: int = 0) -> None:
        super().__init__()
        self.names, self.stop, self.copies = names, stop, list[dict[str, Tensor]]()

    def begin(self, run: Run) -> None:
        self.model = run.unwrapped_model

    def after(self, step: int, loss: Tensor) -> None:
        state = self.model.state_dict()
        self.copies.append({name: state[name].clone() for name in self.names})
        if step == self.stop:
            raise Cut


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))


def norm_net() -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.BatchNorm1d(8, affine=False), nn.Dropout(0.5))
    return nn.Sequential(body, nn.ReLU(), nn.Linear(8, 3))


def loss(model: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(model(batch[0]), batch[1])


def data(count: int = PER_EPOCH) -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator)) for _ in range(count)]


def fit(plugins: list[Part], model: nn.Module | None = None, watch: list[Watch] | None = None, **settings: Any) -> Any:
    settings = {"updates": UPDATES, "val": data(2), "device": "cpu"} | settings
    batches = data(2 * PER_EPOCH if any(isinstance(plugin, Accumulate) for plugin in plugins) else PER_EPOCH)
    return Trainer(model or net(), batches, loss=loss, plugins=plugins, watch=watch or (), **settings).fit()


def body(until: float | None) -> list[Any]:
    return [{"match": ["0.*", "1.*"], **({} if until is None else {"until": until})}]


@pytest.mark.parametrize("name", SETS)
def test_a_run_resumed_at_any_update_around_a_thaw_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    until = 4 if len(name) % 2 else PER_EPOCH  # within an epoch, or at its end, where there are two checkpoints
    whole = fit(SETS[name](), out=tmp_path / "whole", freeze=body(until), checkpoint_every=1, checkpoint_keep=99)
    assert not torch.equal(whole.model[0].weight, net()[0].weight)
    assert sum("trained from update" in remark for remark in whole.remarks) == 1
    files = [file for step in (until - 1, until, until + 1) for file in tmp_path.glob(f"whole/checkpoints/update-{step:08d}*.pt")]
    assert len(files) == 4
    for file in files:
        resumed = fit(SETS[name](), resume=file, out=tmp_path / file.stem, freeze=body(until), checkpoint_epochs=99)
        assert all(map(torch.equal, whole.model.parameters(), resumed.model.parameters())), file.stem
        assert resumed.metrics == whole.metrics


@pytest.mark.parametrize("until", [1, PER_EPOCH, 5, None])
def test_equals_a_loop_by_hand(until: int | None) -> None:
    result = fit([AdamW(lr=0.01)], freeze=body(until))
    model, batches = net(), data()
    optim = torch.optim.AdamW(model[3].parameters(), lr=0.01, weight_decay=0.01, fused=True)
    model[:2].requires_grad_(False)
    for step in range(UPDATES):
        if step == until:
            model[:2].requires_grad_(True)
            optim.add_param_group({"params": list(model[:2].parameters())})
        optim.zero_grad()
        loss(model, batches[step % PER_EPOCH]).backward()
        optim.step()
    for one, other in zip(result.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_a_share_of_the_run_is_counted_in_updates() -> None:
    shared, counted = fit([], freeze=body(0.5)), fit([], freeze=body(round(0.5 * UPDATES)))
    assert all(map(torch.equal, shared.model.parameters(), counted.model.parameters()))


def test_a_frozen_batch_norm_stands_still_until_it_is_thawed() -> None:
    names = ("0.1.running_mean", "0.3.running_mean", "0.1.weight", "0.3.num_batches_tracked")
    look = Look(*names)
    fit([], norm_net(), [look], freeze=[{"match": "0.*", "until": 5}], evaluate_every=2)
    fresh = norm_net().state_dict()
    for step, copies in enumerate(look.copies, 1):
        for name in names:
            assert torch.equal(copies[name], fresh[name]) == (step <= 5), f"{name} after update {step}"


def test_a_norm_that_is_trained_moves_in_a_frozen_body() -> None:
    look = Look("0.1.running_mean", "0.1.weight", "0.0.weight")
    fit([], norm_net(), [look], freeze=["0.0.*", "0.2.*"])
    fresh = norm_net().state_dict()
    assert not torch.equal(look.copies[0]["0.1.running_mean"], fresh["0.1.running_mean"])
    assert not torch.equal(look.copies[0]["0.1.weight"], fresh["0.1.weight"])
    assert torch.equal(look.copies[-1]["0.0.weight"], fresh["0.0.weight"])


def test_a_frozen_norm_is_resumed_to_the_bit(tmp_path: Path) -> None:
    settings = {"freeze": [{"match": "0.*", "until": 4}], "checkpoint_every": 1, "checkpoint_keep": 99, "evaluate_every": 2}
    whole = fit([], norm_net(), out=tmp_path / "whole", **settings)
    for file in sorted((tmp_path / "whole/checkpoints").glob("*.pt"))[2:5:2]:
        resumed = fit([], norm_net(), resume=file, out=tmp_path / file.stem, **settings)
        ended, state = whole.model.state_dict(), resumed.model.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in ended.items()), file.stem


def test_what_the_user_froze_stays_frozen_and_the_rest_needs_gradients_again() -> None:
    model = net()
    model[1].requires_grad_(False)
    fit([], model, freeze=[{"match": "[01].*", "until": 4}, "3.bias"])
    assert torch.equal(model[1].weight, net()[1].weight)
    assert not model[1].weight.requires_grad
    assert model[0].weight.requires_grad
    assert model[3].bias.requires_grad
    assert torch.equal(model[3].bias, net()[3].bias)
    with pytest.raises(Cut):
        fit([], model, [Look(stop=2)], freeze=["0.*"])
    assert model[0].weight.requires_grad


def test_tied_weights_are_frozen_by_any_of_their_names() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    before = model[0].weight.detach().clone()
    fit([], model, freeze=["2.weight"])
    assert torch.equal(model[0].weight, before)


def test_the_plan_counts_what_is_frozen(tmp_path: Path) -> None:
    fit([], norm_net(), freeze=[{"match": "0.0.*", "until": 5}, "0.*"], out=tmp_path / "run")
    plan = (tmp_path / "run/plan.json").read_text()
    assert "0.0.*: 2 tensors of 56 numbers until update 5; 0.*: 4 tensors of 88 numbers; the statistics of 2 norms" in plan
    assert "parameters, 27 trained" in plan


def test_updates_that_are_replayed_are_captured_anew() -> None:
    graph = taped_graph(warmup=1)
    replayed, plain = fit([graph, AdamW(), EMA()], freeze=body(4)), fit([AdamW(), EMA()], freeze=body(4))
    for one, other in zip(replayed.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)  # the rate is a float32 on the device


def test_averages_of_before_and_after_the_thaw_are_loaded(tmp_path: Path) -> None:
    settings = {"freeze": body(4), "checkpoint_every": 1, "checkpoint_keep": 99}
    ended = fit([AdamW(lr=0.01), EMA(decay=0.5)], out=tmp_path, **settings).model.state_dict()
    loaded = [load(file, model=net()).state_dict() for file in sorted(tmp_path.glob("checkpoints/*.pt"))]
    fresh = net().state_dict()
    assert all(torch.equal(value, ended[name]) for name, value in loaded[-1].items())
    assert torch.equal(loaded[0]["0.weight"], fresh["0.weight"])
    assert not torch.equal(loaded[0]["3.weight"], fresh["3.weight"])


def test_best_weights_of_before_the_thaw_are_written_again(tmp_path: Path) -> None:
    settings = {"freeze": body(4), "checkpoint_every": 1, "checkpoint_keep": 99, "evaluate_every": 1, "out": tmp_path}
    with pytest.raises(Cut):
        fit([AdamW(lr=1.0), EMA(decay=0.1)], watch=[Look(stop=6)], checkpoint_best="max:loss", **settings)
    best = tmp_path / "best.safetensors"
    expected = best.read_bytes()
    best.unlink()
    result = fit([AdamW(lr=1.0), EMA(decay=0.1)], watch=[Look(stop=0)], checkpoint_best="max:loss", resume="auto", **settings)
    assert result.updates == UPDATES
    assert len(expected) == len(best.read_bytes())


def test_another_freeze_is_refused_or_accepted(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        fit([AdamW(), EMA()], watch=[Look(stop=5)], freeze=body(4), out=tmp_path / "run", checkpoint_every=1)
    for other in (None, body(6)):
        with pytest.raises(ConfigError, match=r"freeze was .* and is now .*resume.allow=\[freeze\]"):
            fit([AdamW(), EMA()], freeze=other, out=tmp_path / "run", resume="auto")
    look = Look("0.weight", "3.bias")
    settings = {"freeze": [{"match": "3.*", "until": 7}], "resume": tmp_path / "run", "allow": ["freeze"], "checkpoint_every": 1}
    whole = fit([AdamW(), EMA()], watch=[look], out=tmp_path / "other", **settings)
    fixed = [torch.equal(one["3.bias"], other["3.bias"]) for one, other in zip(look.copies, look.copies[1:], strict=False)]
    moving = [torch.equal(one["0.weight"], other["0.weight"]) for one, other in zip(look.copies, look.copies[1:], strict=False)]
    assert fixed == [True, True, False, False]
    assert not any(moving)
    with pytest.raises(Cut):
        fit([AdamW(), EMA()], watch=[Look(stop=6)], out=tmp_path / "third", **settings)
    resumed = fit([AdamW(), EMA()], freeze=settings["freeze"], resume="auto", out=tmp_path / "third")
    assert all(map(torch.equal, whole.model.parameters(), resumed.model.parameters()))


@pytest.mark.parametrize(
    ("freeze", "says"),
    [
        (["0.weigth"], r"freeze\[0\].match: '0.weigth' matches no parameter; did you mean '0.weight'\?"),
        (["re:("], r"freeze\[0\].match: 're:\(' is no regular expression"),
        (["*"], "freeze leaves no parameter to train in the first update"),
        ([{"match": "*", "until": 3}], "freeze leaves no parameter to train in the first update"),
        (["0.*", "0.bias"], r"freeze\[1\] has no effect: rules before it take all"),
        ([{"match": "0.*", "until": 9}], r"freeze\[0\].until is update 9, and the run has 9, so nothing would be thawed"),
        ([{"match": "0.*", "until": 2.5}], r"freeze\[0\].until must be a whole number of updates, or a share of the run below 1"),
        ([{"match": "0.*", "until": 0}], r"freeze\[0\].until must be a number above 0, or null, not 0"),
        ([{"match": "0.*", "untill": 3}], r"freeze\[0\] has no untill; did you mean 'until'\?"),
        ([{"until": 3}], r"freeze\[0\] must be a pattern, or a dict such as"),
        ([3], r"freeze\[0\] must be a pattern, or a dict such as"),
        ([{"match": [3]}], r"freeze\[0\].match must be a pattern for names of parameters, or a list"),
        (3, "freeze must be a list, or null, not 3"),
    ],
)
def test_what_cannot_work_is_refused(freeze: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        fit([], freeze=freeze)


def test_a_share_of_a_run_without_length_and_what_the_model_does_not_train_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"until=0.5 is a share of the run, whose number of updates is not known; give a number"):
        Trainer(net(), iter_of(data()), loss=loss, freeze=body(0.5), max_seconds=9, watch=()).fit()
    model = net()
    model[0].requires_grad_(False)
    with pytest.raises(ConfigError, match=r"'0.\*' matches 0.weight and 1 more, which the model does not train anyway"):
        fit([], model, freeze=["0.*"])


def iter_of(batches: list[Any]) -> Any:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return (sample for batch in batches for sample in zip(*batch, strict=True))

    return cast(Any, Stream())
