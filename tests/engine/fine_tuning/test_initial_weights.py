"""A run begins with the weights of a file, of another run, of a dict or of a module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.parts import Run, Watch
from accel.plugins.adamw import AdamW
from accel.plugins.ema import EMA
from accel.plugins.schedule_free import ScheduleFree


class Keep(Watch):
    """Keeps the state of the model at the first update, and the plan."""

    def begin(self, run: Run) -> None:
        self.state = {name: value.clone() for name, value in run.unwrapped_model.state_dict().items()}
        self.plan = run.plan.facts


def net(seed: int = 0, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, classes))


def loss(model: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(model(batch[0]), batch[1])


def data() -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator)) for _ in range(3)]


def fit(model: nn.Module | None = None, plugins: Any = (), **settings: Any) -> tuple[dict[str, Tensor], str]:
    """The state with which the run begins, and what the plan says of it."""
    keep = Keep()
    settings = {"device": "cpu", "updates": 2} | settings
    Trainer(model or net(5), data(), loss=loss, plugins=plugins, watch=[keep], **settings).fit()
    return keep.state, keep.plan.get("init", "")


def same(state: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in state.items())


GIVEN = net(1).state_dict()


def test_a_module_and_a_dict_are_taken() -> None:
    for source in (net(1), GIVEN, {"state_dict": GIVEN, "epoch": 3}):
        state, words = fit(init=source)
        assert same(GIVEN, state)
        assert words.endswith("9 of 9 tensors")


@pytest.mark.parametrize("key", ["", "state_dict", "model", "model_state_dict", "module"])
@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "pytorch_model.bin", "last.ckpt"])
def test_a_file_of_torch_is_taken(key: str, name: str, tmp_path: Path) -> None:
    torch.save({key: GIVEN, "epoch": 3, "lr": [0.1]} if key else GIVEN, tmp_path / name)
    state, words = fit(init=str(tmp_path / name), dry_run=True)
    assert same(GIVEN, state)
    assert words == f"{f'{key!r} of ' if key else ''}{tmp_path / name}: 9 of 9 tensors"


def test_a_file_of_safetensors_is_taken_and_several_with_an_index(tmp_path: Path) -> None:
    save_file(GIVEN, tmp_path / "one.safetensors")
    assert same(GIVEN, fit(init=tmp_path / "one.safetensors")[0])
    names = list(GIVEN)
    pieces = {"a.safetensors": names[:3], "b.safetensors": names[3:]}
    for file, part in pieces.items():
        save_file({name: GIVEN[name] for name in part}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, part in pieces.items() for name in part}}))
    for source in (index, tmp_path):
        assert same(GIVEN, fit(init=source)[0])


def test_a_run_gives_its_best_weights_else_its_last_and_a_checkpoint_the_averaged_ones(tmp_path: Path) -> None:
    job: dict[str, Any] = {"loss": loss, "watch": (), "device": "cpu", "val": data(), "epochs": 2}
    first = Trainer(net(), data(), plugins=[EMA(decay=0.5)], out=tmp_path / "first", checkpoint_best="loss", **job).fit()
    state, words = fit(init=tmp_path / "first")
    assert "best of update-" in words
    assert words.endswith("best.safetensors: 9 of 9 tensors")
    best = net()
    assert first.best is not None
    first.best.load(best)
    assert same(best.state_dict(), state)
    last = Trainer(net(), data(), plugins=[EMA(decay=0.5)], out=tmp_path / "last", **job).fit()
    ended = last.model.state_dict()
    assert same(ended, fit(init=tmp_path / "last")[0])
    for file in (tmp_path / "last/checkpoints").glob("*0002.pt"):
        state, words = fit(init=file)
        assert same(ended, state)
        assert "averaged weights" in words
        (tmp_path / "alone.pt").write_bytes(file.read_bytes())
    assert same(ended, fit(init=tmp_path / "alone.pt")[0])
    (tmp_path / "last/model.safetensors").unlink()
    state, words = fit(init=tmp_path / "last")
    assert same(ended, state)
    assert "last of update-" in words


def test_an_average_without_names_is_computed_for_a_model_of_its_make_and_told_for_another(tmp_path: Path) -> None:
    plugins = [ScheduleFree(warmup=0.0)]
    run = Trainer(net(), data(), loss=loss, plugins=plugins, watch=(), epochs=1, out=tmp_path / "run", device="cpu")
    with pytest.warns(AccelWarning, match="running statistics"):
        ended = run.fit().model.state_dict()
    file = next((tmp_path / "run/checkpoints").glob("*.pt"))
    state, words = fit(init=file)
    assert same(ended, state)
    assert "averaged weights" in words
    words = fit(net(5, classes=4), init=file, init_strict=False)[1]
    assert "weights as they were trained, not schedule_free's average: 7 of 9 tensors" in words


def test_weights_with_another_head_are_refused_or_taken_as_far_as_they_fit() -> None:
    shapes = r"\(2.weight: \(3, 8\) given, \(4, 8\) in the model, 2.bias: \(3,\) given, \(4,\) in the model\)"
    says = rf"does not fit the model: 2 of another shape {shapes}; init.strict=false takes what fits$"
    with pytest.raises(ConfigError, match=says):
        fit(net(5, classes=4), init=GIVEN)
    fresh = net(5, classes=4)
    head = fresh[2].weight.detach().clone()
    state, words = fit(fresh, init=GIVEN, init_strict=False)
    assert torch.equal(state["2.weight"], head)
    assert torch.equal(state["0.weight"], GIVEN["0.weight"])
    assert "7 of 9 tensors; 2 of another shape (2.weight: (3, 8) given" in words


def test_what_is_missing_and_what_is_not_in_the_model_is_named() -> None:
    given = {name.replace("2.", "fc."): value for name, value in GIVEN.items()}
    says = (
        r"2 not given \(2.weight, 2.bias\); 2 not in the model \(fc.weight, fc.bias\); init.strict=false takes what fits, and init"
    )
    with pytest.raises(ConfigError, match=says):
        fit(init=given)
    assert "7 of 9 tensors; 2 not given" in fit(init=given, init_strict=False)[1]
    assert same(GIVEN, fit(init=given, init_rename={"fc.*": "2.*"})[0])
    assert same(GIVEN, fit(init=given, init_rename=[{"match": r"re:fc[.](\w+)", "to": r"2.\1"}])[0])


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "net."])
def test_first_words_that_all_share_are_left_out(prefix: str) -> None:
    state, words = fit(init={f"{prefix}{name}": value for name, value in GIVEN.items()})
    assert same(GIVEN, state)
    assert f"without their first words {prefix!r}" in words


def test_a_rule_that_would_fit_is_named() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = net(5)

        def forward(self, x: Tensor) -> Any:
            return self.body(x)

    with pytest.raises(ConfigError, match=r"nothing of a state dict fits .* did you mean 'init.rename={\*:body.\*}'\?"):
        fit(Outer(), init=GIVEN)
    assert fit(Outer(), init=GIVEN, init_rename={"*": "body.*"})[1] == "a state dict: 9 of 9 tensors; 9 renamed"
    with pytest.raises(ConfigError, match=r"nothing of .* did you mean 'init.rename={first.\*:body.\*}'\?"):
        fit(Outer(), init={"second.total": torch.zeros(()), **{f"first.{name}": value for name, value in GIVEN.items()}})
    with pytest.raises(ConfigError, match=r"nothing of .*; init.rename={OLD:NEW} gives other"):
        fit(Outer(), init={"conv.0.weight": torch.zeros(7), **{f"conv{number}.gain": torch.zeros(7) for number in range(9)}})
    with pytest.raises(ConfigError, match=r"did you mean 'init.rename={net.\*:\*}'\?"):
        fit(init={"metric.total": torch.zeros(()), **{f"net.{name}": value for name, value in GIVEN.items()}})


def test_names_of_wrappers_in_the_model_are_looked_through() -> None:
    state, words = fit(nn.DataParallel(net(5)), init=GIVEN)
    assert same(GIVEN, {name.removeprefix("module."): value for name, value in state.items()})
    assert words.endswith("9 of 9 tensors")


def test_dtypes_are_converted_and_said() -> None:
    state, words = fit(init={name: value.half() if value.is_floating_point() else value for name, value in GIVEN.items()})
    assert state["0.weight"].dtype == torch.float32
    assert "8 converted from float16 to the model's float32" in words
    with pytest.raises(ConfigError, match=r"0.weight has numbers that are too large for the model's bfloat16"):
        fit(net(5).bfloat16(), init={name: value.double() * 1e300 for name, value in GIVEN.items()}, init_strict=False)
    whole = {**GIVEN, "0.weight": torch.ones(8, 6, dtype=torch.int8)}
    with pytest.raises(ConfigError, match=r"0.weight: int8 given, float32 in the model"):
        fit(init=whole)


def test_tied_weights_may_be_there_once_and_a_missing_counter_is_none() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3))
    model[1].weight = model[0].weight
    state = {name: value for name, value in model.state_dict().items() if name != "1.weight"}
    assert fit(model, init=state)[1] == "a state dict: 5 of 5 tensors"
    assert fit(init={name: value for name, value in GIVEN.items() if "tracked" not in name})[1] == "a state dict: 8 of 8 tensors"


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_hooks_of_the_model_rename_as_with_torch() -> None:
    plain = nn.Sequential(nn.Linear(6, 3))
    torch.nn.utils.weight_norm(plain[0])
    old = plain.state_dict()
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 3)))
    state, _ = fit(model, init=old)
    assert torch.equal(state["0.parametrizations.weight.original1"], old["0.weight_v"])


def test_a_resumed_run_reads_nothing(tmp_path: Path) -> None:
    torch.save(GIVEN, tmp_path / "weights.pt")
    settings: dict[str, Any] = {"init": str(tmp_path / "weights.pt"), "out": tmp_path / "run"}
    assert same(GIVEN, fit(**settings)[0])
    (tmp_path / "weights.pt").unlink()
    state, words = fit(resume="auto", updates=4, **settings)
    assert not same(GIVEN, state)
    assert words == "not read: the run that is resumed has its own weights"
    whole = Trainer(net(5), data(), loss=loss, watch=(), updates=6, init=GIVEN, device="cpu").fit().model.state_dict()
    resumed = Trainer(net(5), data(), loss=loss, watch=(), updates=6, resume=tmp_path / "run", device="cpu").fit()
    assert same(whole, resumed.model.state_dict())


def test_an_average_begins_at_them() -> None:
    keep = Keep()

    class Average(Keep):
        def begin(self, run: Run) -> None:
            super().begin(run)
            self.average = [value.clone() for value in run.parts.average.state_dict()["average"].values()]

    keep = Average()
    Trainer(net(5), data(), loss=loss, plugins=[EMA(), AdamW()], watch=[keep], init=GIVEN, updates=1, device="cpu").fit()
    assert any(torch.equal(keep.average[0], value) for value in GIVEN.values())


def test_settings_without_effect_are_said() -> None:
    with pytest.warns(AccelWarning, match="init.strict has no effect: the model begins as it is made"):
        fit(init_strict=False)


class Plain:
    """An object whose class a pickle names."""


def test_files_that_cannot_be_taken_are_refused_in_a_sentence(tmp_path: Path) -> None:
    torch.save(GIVEN, whole := tmp_path / "whole.pt")
    save_file(GIVEN, tensors := tmp_path / "whole.safetensors")
    (cut := tmp_path / "cut.pt").write_bytes(whole.read_bytes()[:-300])
    (short := tmp_path / "cut.safetensors").write_bytes(tensors.read_bytes()[:-8])
    torch.save(net(), pickled := tmp_path / "module.pt")
    torch.save({"epoch": 3, "lr": 0.1}, empty := tmp_path / "empty.pt")
    torch.save([1, 2], listed := tmp_path / "list.pt")
    save_file({}, none := tmp_path / "none.safetensors")
    (text := tmp_path / "page.pth").write_text("<!DOCTYPE html>")
    (pointer := tmp_path / "lfs.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    (index := tmp_path / "index.json").write_text(json.dumps({"weight_map": {"0.weight": "gone.safetensors"}}))
    (outside := tmp_path / "outside.json").write_text(json.dumps({"weight_map": {"0.weight": "../whole.safetensors"}}))
    (other := tmp_path / "config.json").write_text("{}")
    (circle := tmp_path / "circle.json").write_text(json.dumps({"weight_map": {"0.weight": "circle.json"}}))
    (nothing := tmp_path / "nothing.json").write_text(json.dumps({"weight_map": {}}))
    torch.save({}, bare := tmp_path / "bare.pt")
    (folder := tmp_path / "folder").mkdir()
    nan = {**GIVEN, "0.weight": GIVEN["0.weight"] * float("nan")}
    for source, says in {
        whole.with_name("whoel.pt"): "does not exist; did you mean 'whole.pt'?",
        cut: "is no file of torch.save, or a damaged one",
        short: "is no safetensors file, or not a whole one",
        pickled: "needs code to be read (torch.nn.modules.container.Sequential), and none is run; save weights alone",
        empty: "has no weights in it: it has epoch, lr; save model.state_dict()",
        listed: "has no weights in it: it has a list",
        none: "has no weights in it",
        text: "is no file of torch.save, or a damaged one",
        pointer: "only points to its content, which Git LFS keeps; fetch it with 'git lfs pull'",
        index: "names gone.safetensors, which is not beside it",
        outside: "names ../whole.safetensors, which is outside of its folder",
        other: "is no index of files of weights",
        folder: "is no run directory: it holds no weights",
        "": "nothing is named",
        300 * "x": "cannot be read (File name too long)",
        circle: "names circle.json, which is an index too",
        nothing: "has no weights in it",
        bare: "has no weights in it: it has nothing",
    }.items():
        with pytest.raises(ConfigError) as caught:
            fit(init=source)
        assert says in str(caught.value)
        assert "init" in str(caught.value)
    with pytest.raises(ConfigError, match="init: a ReLU has no weights in it"):
        fit(init=nn.ReLU(), init_rename={"a": "b"})
    with pytest.raises(ConfigError, match=r"0.weight holds numbers that are not finite"):
        fit(init=nan)
    with pytest.raises(ConfigError, match="init must be a file, a run directory, a state dict or a module, not a int"):
        fit(init=3)


def test_a_mask_that_is_infinite_in_both_is_no_fault() -> None:
    model = net(5)
    model.register_buffer("mask", torch.full((2,), -torch.inf))
    assert "10 of 10 tensors" in fit(model, init={**GIVEN, "mask": torch.full((2,), -torch.inf)})[1]


@pytest.mark.parametrize(
    ("rename", "says"),
    [
        ({"bakcbone.*": "*"}, r"init.rename: 'bakcbone.\*' matches nothing in a state dict; the first is called '0.weight'"),
        ({"0": "1"}, r"init.rename: '0' matches nothing in a state dict; '0.weight' would be matched by '0.\*'"),
        ({"0.weight": "2.weight"}, "0.weight and 2.weight of a state dict would both be called 2.weight"),
        ({"0.*": "*.*"}, r"'\*.\*' has more wildcards than '0.\*'"),
        ([{"match": "re:0[.](.*)", "to": r"\2"}], "do not go together: invalid group reference 2"),
        ([{"match": "re:(", "to": "a"}], "do not go together: missing"),
        ([{"match": "a"}], "init.rename must have dicts of match and to"),
        ({"a": 3}, "names are texts, not 'a' and 3"),
        ("a", "init.rename must be a dict, or a list, or null, not 'a'"),
    ],
)
def test_new_names_that_cannot_be_given_are_refused(rename: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        fit(init=GIVEN, init_rename=rename)


class Adapting(Trainer):
    """Takes weights of another number of classes without their head."""

    answer: Any = None

    def model(self) -> nn.Module:
        return net(5, classes=4)

    def data(self, split: str) -> Any:
        return [(x, y) for x, y in data()] if split == "train" else None

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return loss(model, batch)

    def adapt_weights(self, model: nn.Module, state: dict[str, Any]) -> Any:
        if self.answer is not None:
            return self.answer
        kept = {name: value for name, value in state.items() if not name.startswith("2.")}
        return kept, {"2.weight": "other classes", "2.bias": "other classes"}


def test_a_task_adapts_the_weights_that_it_is_given() -> None:
    keep = Keep()
    Adapting(init=net(1), updates=1, watch=[keep], device="cpu").fit()
    assert same({name: value for name, value in GIVEN.items() if not name.startswith("2.")}, keep.state)
    assert same({name: value for name, value in net(5, classes=4).state_dict().items() if name.startswith("2.")}, keep.state)
    assert "7 of 9 tensors" in keep.plan["init"]
    assert "2.weight, 2.bias begin anew: other classes" in keep.plan["init"]


@pytest.mark.parametrize("answer", [[1], {"a": 1}, ({}, [])])
def test_what_is_no_weights_is_refused(answer: Any) -> None:
    task = Adapting(init=net(1), updates=1, watch=(), device="cpu")
    task.answer = answer
    with pytest.raises(ConfigError, match=r"adapt_weights\(model, state\) returned .*; return tensors by name"):
        task.fit()
