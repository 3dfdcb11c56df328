"""The plugin distill in real runs. Its formulas, hints and memory are tested in tests/compress/distillation."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import accel
from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.parts import Part, Quantisation, Run, Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.compile import Compile
from accel.plugins.distill import Distill
from accel.plugins.ema import EMA
from accel.plugins.lowbit import LowBit
from accel.plugins.prune import Prune
from accel.plugins.recompute import Recompute
from accel.testing import fit_toy
from accel.testing.toy_run import CLASSES, FEATURES, Toy, toy_model, toy_teacher
from tests.support.drill_length import LONG
from tests.support.halved_layer import Halve
from tests.support.points_task import Points


class Wide(Points):
    """The points with another model, by default a wider one."""

    def __init__(self, width: int = 12, **run: Any) -> None:
        super().__init__(width=width, **run)


class ThreeSides(Points):
    def data(self, split: str) -> Any:
        data = super().data(split)
        self.classes = ["left", "right", "middle"]
        return data


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "run"
    points(Wide, epochs=1, out=out)
    return out


def points(kind: type[Points] = Points, *plugins: Part, **run: Any) -> Any:
    settings = {"epochs": 2, "batch_size": 16, "watch": (), "device": "cpu", "seed": 1} | run
    return kind(plugins=list(plugins), **settings).fit()


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return list(one.state_dict()) == list(other.state_dict()) and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_first_loss_is_the_formula_by_hand_to_the_bit(weight: float) -> None:
    student, master = toy_model(dropout=0.0), toy_teacher().eval()
    x, y = torch.randn(8, FEATURES), torch.arange(8) % CLASSES
    z, v = student(x), master(x)
    p = F.softmax(v / 3.0, dim=1)
    soft = F.kl_div(F.log_softmax(z / 3.0, dim=1), p, reduction="none").sum(1).mean() * 3.0**2
    by_hand = F.cross_entropy(z, y) * (1 - weight) + soft * weight
    plugin = Distill(teacher=master, temperature=3.0, weight=weight, dtype="float32")
    loss: Any = lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])  # noqa: E731
    result = Trainer(student, [(x, y)], loss=loss, plugins=[plugin], watch=(), updates=1, device="cpu").fit()
    assert result.loss == float(by_hand.detach())


def test_the_teacher_only_answers(teacher: Path) -> None:
    master = toy_teacher()
    before, mode = copy.deepcopy(master.state_dict()), master.training
    fit_toy([Distill(teacher=master)])
    assert all(torch.equal(value, before[name]) for name, value in master.state_dict().items())
    assert master.training == mode
    assert all(param.requires_grad and param.grad is None for param in master.parameters())


def test_an_evaluation_does_without_it(teacher: Path, tmp_path: Path) -> None:
    result = points(Points, Distill(teacher=str(teacher)), out=tmp_path / "run")
    plain = points(Points)
    assert result.metrics.keys() == plain.metrics.keys()
    assert result.metrics != plain.metrics
    assert equal(accel.load(tmp_path / "run"), result.model)


class Asked(nn.Module):
    """A teacher that counts how often it is asked, in all its copies."""

    count = 0

    def __init__(self) -> None:
        super().__init__()
        self.model = toy_teacher()

    def forward(self, x: Tensor) -> Any:
        assert not self.training
        assert not torch.is_grad_enabled()
        type(self).count += 1
        return self.model(x)


def test_it_is_asked_once_for_each_micro_batch_and_never_in_an_evaluation() -> None:
    Asked.count = 0
    fit_toy([Distill(teacher=Asked(), cache_mb=0)])
    assert Asked.count == 12


def test_its_memory_does_not_change_a_bit() -> None:
    Asked.count = 0
    kept = fit_toy([Distill(teacher=Asked())], epochs=6)
    assert Asked.count < 6 * 6
    assert kept.equals(fit_toy([Distill(teacher=Asked(), cache_mb=0)], epochs=6))


def test_annealed_it_ends_as_the_tasks_own_loss() -> None:
    plugin = Distill(teacher=toy_teacher(), weight=0.8, anneal=True)
    fit_toy([plugin])
    assert [plugin.shares(step)[1] for step in (0, 11)] == [0.8, 0.0]
    assert plugin.shares(5)[1] == pytest.approx(0.8 * (1 - 5 / 11))
    assert plugin.logged["own_loss"] > 0


def test_an_ensemble_is_the_mean_of_its_probabilities() -> None:
    one, twice = (fit_toy([Distill(teacher=teachers)]) for teachers in (toy_teacher(), [toy_teacher(), toy_teacher()]))
    assert one.distance(twice) < 1e-6
    other = toy_teacher()
    nn.init.zeros_(other[4].weight)
    assert one.distance(fit_toy([Distill(teacher=[toy_teacher(), other])])) > 1e-4


def test_a_teacher_that_is_a_run_directory_or_its_file_is_one(teacher: Path) -> None:
    by_directory, by_file = (points(Points, Distill(teacher=str(path))) for path in (teacher, teacher / "model.safetensors"))
    assert equal(by_directory.model, by_file.model)
    assert not equal(by_directory.model, points(Points).model)


def test_a_file_of_its_own_is_of_this_task_with_other_arguments(teacher: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes((teacher / "model.safetensors").read_bytes())
    assert not equal(points(Points, Distill(teacher=str(moved), teacher_task={"width": 12})).model, points(Points).model)
    with pytest.raises(ConfigError, match=r"the weights are of another model.*distill.teacher_task={argument: value}"):
        points(Points, Distill(teacher=str(moved)))
    with pytest.raises(ConfigError, match=r"distill.teacher_task: Points has no argument 'widht'; did you mean 'width'"):
        points(Points, Distill(teacher=str(moved), teacher_task={"widht": 12}))


def test_a_resumed_run_is_told_of_another_teacher(teacher: Path, tmp_path: Path) -> None:
    place = tmp_path / "teacher"
    points(Wide, epochs=1, out=place)
    points(Points, Distill(teacher=str(place)), epochs=1, out=tmp_path / "run")
    points(Points, Distill(teacher=str(place)), resume=tmp_path / "run")
    moved = place.rename(tmp_path / "elsewhere")
    points(Points, Distill(teacher=str(moved)), epochs=3, resume=tmp_path / "run")
    points(Wide, epochs=2, out=place, seed=7)
    with pytest.raises(ConfigError, match=r"plugins.distill.teacher was \w{32} and is now \w{32}") as caught:
        points(Points, Distill(teacher=str(place)), epochs=4, resume=tmp_path / "run")
    assert "resume.allow=[plugins.distill.teacher]" in str(caught.value)
    points(Points, Distill(teacher=str(place)), epochs=4, resume=tmp_path / "run", allow=["plugins.distill.teacher"])


BAD: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "no teacher": (lambda path: {"teacher": None}, "distill needs a teacher: plugins.distill.teacher=RUN"),
    "nothing there": (lambda path: {"teacher": str(path / "no")}, "no does not exist"),
    "no run": (lambda path: {"teacher": str(path.parent)}, "is no run directory"),
    "no text": (lambda path: {"teacher": 3}, "distill.teacher must be a path, self, or a list of paths, not a int"),
    "an empty list": (lambda path: {"teacher": []}, "distill.teacher must be a path"),
    "self among others": (lambda path: {"teacher": ["self", str(path)]}, "distill.teacher=self is a teacher alone"),
    "no temperature": (lambda path: {"teacher": str(path), "temperature": 0}, "distill.temperature must be a number above 0"),
    "a hint of nothing": (lambda path: {"teacher": str(path), "hints": ["layer.0"]}, "the student has no module 'layer.0'"),
    "hints of several": (lambda path: {"teacher": [str(path)] * 2, "hints": ["layers"]}, "distill.hints are of one teacher"),
    "other classes": (lambda path: {"teacher": nn.Linear(2, 3)}, "knows 3 classes, and the model 2; take a teacher of the same"),
    "other inputs": (lambda path: {"teacher": nn.Linear(5, 2)}, "cannot take what the student is given"),
    "another task": (
        lambda path: {"teacher": nn.Flatten(0)},
        "returns a tensor of shape (32,), in which the logits cannot be told",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_work_is_one_sentence_and_leaves_nothing_behind(name: str, teacher: Path, tmp_path: Path) -> None:
    settings, sentence = BAD[name]
    with pytest.raises(ConfigError) as caught:
        points(Points, Distill(**settings(teacher)), out=tmp_path / "run")
    assert sentence in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_damaged_teacher_and_one_of_other_classes(teacher: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((teacher / "model.safetensors").read_bytes()[:-40])
    with pytest.raises(ConfigError, match=r"distill.teacher=.*damaged.safetensors.*cannot be read"):
        points(Points, Distill(teacher=str(damaged), teacher_task={"width": 12}))
    with pytest.raises(ConfigError, match="middle new to it; take a teacher of the same classes"):
        points(ThreeSides, Distill(teacher=str(teacher)), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_its_own_run_is_no_teacher(teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    points(Points, Distill(teacher=str(teacher)), epochs=1, out=out)
    link, around = tmp_path / "link.safetensors", tmp_path / "around"
    link.symlink_to(out / "model.safetensors")
    around.symlink_to(out)
    newest = sorted((out / "checkpoints").glob("*.pt"))[-1]
    for name in (out, out / "model.safetensors", newest, link, around, around / "model.safetensors", tmp_path / "x" / ".." / "run"):
        with pytest.raises(ConfigError, match="is the directory of this run itself"):
            points(Points, Distill(teacher=str(name)), resume=out)
    net = toy_model()
    with pytest.raises(ConfigError, match="is the model that is trained itself"):
        Trainer(net, [], loss=F.mse_loss, plugins=[Distill(teacher=net)], watch=()).fit()


HINTED: dict[str, list[Callable[[], Part]]] = {
    "alone": [],
    "ema, amp, accumulate": [EMA, AMP, lambda: Accumulate(steps=2), AdamW],
}
if LONG:  # torch's compiler takes seconds to import
    HINTED["compile"] = [lambda: Compile(backend="eager")]


@pytest.mark.parametrize("name", HINTED)
def test_hints_are_trained_resumed_and_not_shipped(name: str, teacher: Path, tmp_path: Path) -> None:
    def run(**settings: Any) -> Any:
        hinted = Distill(teacher=str(teacher), hints={"layers.1": "layers.1", "layers.3": "layers.3"}, hint_weight=3.0)
        return points(Points, hinted, *(make() for make in HINTED[name]), **settings)

    whole = run(out=tmp_path / "whole", epochs=3)
    run(out=tmp_path / "part", epochs=1)
    assert equal(run(resume=tmp_path / "part", epochs=3).model, whole.model)
    plain = points(Points, Distill(teacher=str(teacher)), *(make() for make in HINTED[name]), epochs=3)
    assert list(whole.model.state_dict()) == list(plain.model.state_dict()), "no projection is left in it"
    assert not equal(whole.model, plain.model)
    assert [param.shape for param in whole.model.parameters()] == [param.shape for param in plain.model.parameters()]
    newest = sorted((tmp_path / "whole" / "checkpoints").glob("*.pt"))[-1]
    state = torch.load(newest, weights_only=True)
    assert list(state["parts"]["distill"]["added_parameters"]) == ["distill_hint0_weight", "distill_hint0_bias"]
    assert not any("hint" in key for key in state["model"])
    assert equal(accel.load(newest), whole.model), "a checkpoint of an average, too"


class Twin(nn.Module):
    """A block of which a model has several."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(self.first(x).relu())
        return out


def test_hints_inside_a_recomputed_block_have_the_same_bits() -> None:
    net = nn.Sequential(Twin(), Twin(), Twin(), nn.Linear(FEATURES, CLASSES))
    teacher = nn.Sequential(
        *(nn.Sequential(nn.Linear(FEATURES, 9), nn.Linear(9, FEATURES)) for _ in range(3)), nn.Linear(FEATURES, 3)
    )
    data = [(torch.randn(8, FEATURES), torch.arange(8) % CLASSES)] * 4
    loss: Any = lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])  # noqa: E731
    models = []
    for others in ([], [Recompute()]):
        hinted = Distill(teacher=teacher, hints={"0.first": "1.0", "1": "2"})
        fresh = Trainer(copy.deepcopy(net), data, loss=loss, plugins=[hinted, *others], watch=(), device="cpu")
        models.append(fresh.fit().model)
    assert equal(*models)


class Cuts(Quantisation):
    """Stands for any plugin that changes the width of features."""

    def change(self, run: Run) -> None:
        """Change nothing yet."""


@pytest.mark.parametrize("cuts", [Cuts, Halve, Prune])
def test_hints_and_a_width_that_changes_are_refused_together(cuts: Callable[[], Part]) -> None:
    with pytest.raises(ConfigError, match=r"distill\.hints and \w+ cannot work together, for it changes the width of features"):
        fit_toy([Distill(teacher=toy_teacher(), hints=["1"]), cuts()])


@pytest.mark.parametrize("mode", ["weights", "pattern"])
def test_hints_go_with_masks_and_few_bits(mode: Any) -> None:
    masked = Prune(mode=mode, end=3, **({"pattern": "1:2"} if mode == "pattern" else {}))
    result = fit_toy([Distill(teacher=toy_teacher(), hints=["1"]), masked, LowBit(keep=[])])
    assert any(int((weight == 0).sum()) >= weight.numel() // 2 for weight in result.weights)


def test_a_projection_moves() -> None:
    plugin = Distill(teacher=toy_teacher(), hints=["1"])
    moved: list[Tensor] = []

    class Look(Watch):
        def after(self, step: int, loss: Tensor) -> None:
            assert plugin.projected is not None
            moved.append(plugin.projected.added["distill_hint0_weight"].detach().clone())

    fit_toy([plugin, Look()])
    assert not torch.equal(moved[0], moved[-1])


class Words(Toy):
    """Points in sentences: a class for each, and some that do not count."""

    def model(self) -> nn.Module:
        return toy_model(dropout=0.0)

    def data(self, split: str) -> TensorDataset:
        points, labels = super().data(split).tensors
        tokens = torch.stack([points, points.roll(1, 0), points.roll(2, 0)], 1)
        counts = torch.arange(len(points)) % 3
        targets = torch.stack([labels, labels.roll(1), labels.roll(2)], 1).masked_fill(torch.arange(3) > counts[:, None], -100)
        return TensorDataset(tokens, targets)

    def loss(self, model: nn.Module, batch: Any) -> Any:
        logits = model(batch[0])
        return F.cross_entropy(logits.flatten(0, 1), batch[1].flatten()), (batch[1] != -100).sum()


@pytest.mark.parametrize(("others", "tolerance"), [("", 1e-5), ("ema", 1e-5), ("ema, amp", 2e-3)])
def test_per_token_accumulation_is_the_big_batch(others: str, tolerance: float) -> None:
    def run(*plugins: Part, batch_size: int = 8) -> Any:
        beside = {"ema": EMA(decay=0.5), "amp": AMP(force=True)}
        named = [beside[name] for name in others.split(", ") if name]
        return fit_toy([Distill(teacher=toy_teacher(), weight=0.9), *named, *plugins], kind=Words, batch_size=batch_size)

    big, small = run(), run(Accumulate(steps=2), batch_size=4)
    assert small.distance(big) < tolerance
    assert big.distance(fit_toy([], kind=Words, batch_size=8)) > 5 * tolerance


class Guessing(Words):
    """Its loss counts items that nothing else tells."""

    def loss(self, model: nn.Module, batch: Any) -> Any:
        loss, items = super().loss(model, batch)
        return loss, items + 1


class Twice(Toy):
    """Its loss calls the model for two views, and its outputs are no logits."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]) + model(-batch[0]), batch[1])


class Telling(Twice):
    def logits_of(self, outputs: Any, batch: Any) -> Tensor:
        first, second = outputs
        both: Tensor = first + second
        return both


class Asking(Toy):
    """A teacher that sees other inputs."""

    def ask_teacher(self, teacher: nn.Module, calls: Any, batch: Any) -> Any:
        assert len(calls) == 1
        return teacher(batch[0].roll(1, 1))


def test_what_capture_cannot_tell_a_task_does() -> None:
    with pytest.raises(ConfigError, match=r"the loss is a mean over \d+ items, and the logits have \d+ positions that count"):
        fit_toy([Distill(teacher=toy_teacher())], kind=Guessing)
    with pytest.raises(ConfigError, match=r"the loss calls the model 2 times.*define logits_of\(outputs, batch\)"):
        fit_toy([Distill(teacher=toy_teacher())], kind=Twice)
    assert fit_toy([Distill(teacher=toy_teacher())], kind=Telling).distance(fit_toy([], kind=Twice)) > 1e-3
    assert fit_toy([Distill(teacher=toy_teacher())], kind=Asking).distance(fit_toy([Distill(teacher=toy_teacher())])) > 1e-4


def test_settings_without_effect_are_told() -> None:
    plugin = Distill(teacher=toy_teacher(), generations=2, hint_weight=2.0, teacher_task={}, anneal=True, weight=0.0)
    with pytest.warns(AccelWarning) as caught:
        fit_toy([plugin])
    texts = [str(warning.message) for warning in caught]
    for name in ("generations", "hint_weight", "teacher_task", "anneal"):
        assert any(text.startswith(f"distill.{name} has no effect without") for text in texts), name
