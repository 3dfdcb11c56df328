"""`task=images task.model=timm/NAME`: trained, begun from a file, evaluated, exported, beside the plugins, and mistyped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import accel
from accel import __main__
from accel.cli.exit_codes import exit_code
from accel.cli.train_command import main as train
from accel.engine.loading.load import load_task
from accel.errors import ConfigError
from accel.tasks.images import Images
from accel.tasks.models.timm_models import TimmModel
from tests.support.drawn_images import write_noise
from tests.support.exported_runs import skip_missing
from tests.support.loader_runs import Batches, all_equal
from tests.support.torchvision_ops import import_torchvision

import_torchvision()
timm: Any = pytest.importorskip("timm")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")]
NAMES = ("test_vit", "test_resnet", "test_convnext")
"""The smallest of each kind."""
SIZE = 32


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    write_noise(folder, {"train": 7, "test": 3}, SIZE, SIZE)
    return folder


def task(root: Path, name: str, **settings: Any) -> Images:
    given = {"size": SIZE, "watch": (), "epochs": 1, "batch_size": 4, "seed": 3, "device": "cpu", **settings}
    return Images(root=str(root), model=f"timm/{name}", **given)


def words(root: Path, name: str, *more: str) -> list[str]:
    quiet = ("~plugins.progress", "device=cpu", "epochs=1", "batch_size=4")
    return ["task=images", f"task.root={root}", f"task.size={SIZE}", f"task.model=timm/{name}", *quiet, *more]


def command(*typed: str | Path) -> int:
    return exit_code(lambda: __main__.main(list(map(str, typed))))


def published(name: str, folder: Path, classes: int = 1000, **settings: Any) -> tuple[nn.Module, Path]:
    """Weights as they are published, in a file."""
    with torch.random.fork_rng():
        torch.manual_seed(9)
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **settings)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    return model, folder / "model.safetensors"


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_the_command_line_is_evaluated_predicted_and_loaded(name: str, root: Path, tmp_path: Path, capsys: Any) -> None:
    assert train(words(root, name, "+plugins=[adamw,ema,amp,onecycle]", f"out={tmp_path / 'run'}")) == 0
    run, out = tmp_path / "run", tmp_path / "metrics.json"
    assert command("evaluate", run, f"out={out}") == 0
    history = json.loads((run / "summary.json").read_text())["history"][-1]
    assert json.loads(out.read_text())["metrics"] == {key: value for key, value in history.items() if key != "epoch"}
    capsys.readouterr()
    assert command("predict", run, root / "test") == 0
    assert capsys.readouterr().out.count("cat") >= 3
    model = accel.load(run)
    assert type(model).__module__.startswith("timm.models.")
    expected = timm.data.resolve_model_data_config(timm.create_model(name))
    assert load_task(run).normalisation == {"mean": list(expected["mean"]), "std": list(expected["std"])}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_run_whoever_reads_and_after_a_resume(name: str, root: Path, tmp_path: Path) -> None:
    class Seen(Images):
        spy: Any = None

        def loss(self, model: nn.Module, batch: Any) -> Tensor:
            self.spy.see(model, batch)
            return super().loss(model, batch)

    def make(spy: Batches, **settings: Any) -> Images:
        trainer = Seen(root=str(root), model=f"timm/{name}", size=SIZE, epochs=2, batch_size=4, seed=3, **settings)
        trainer.spy = spy
        return trainer

    all_equal(make, tmp_path, ["plain", "workers", "threads", "prefetch", "threads prefetch"])


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_a_file_lose_their_head_and_take_another_size(name: str, root: Path, tmp_path: Path) -> None:
    source, file = published(name, tmp_path)
    trainer = task(root, name, init=file, dry_run=True)
    model = trainer.model()
    state, anew = trainer.adapt_weights(model, dict(source.state_dict()))
    (head,) = {key.rpartition(".")[0] for key in anew}
    assert set(anew.values()) == {"a head for 1,000 classes was given, and there are 2"}
    settings = {"img_size": SIZE} if name == "test_vit" else {}
    by_timm = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(file)}, num_classes=2, **settings)
    own = by_timm.state_dict()
    assert state.keys() == own.keys() - anew.keys()
    assert all(torch.equal(state[key], own[key]) for key in state)
    assert head in str(timm.models.get_pretrained_cfg(name).classifier)


def test_the_plan_says_what_became_of_the_weights(root: Path, tmp_path: Path) -> None:
    _, file = published("test_resnet", tmp_path)
    task(root, "test_resnet", init=file, updates=1, epochs=None, out=tmp_path / "run").fit()
    text = json.loads((tmp_path / "run/plan.json").read_text())["facts"]["init"]
    assert "fc.weight, fc.bias begin anew: a head for 1,000 classes was given, and there are 2" in text


def test_a_head_for_as_many_classes_stays(root: Path, tmp_path: Path) -> None:
    source, file = published("test_resnet", tmp_path, classes=2)
    trainer = task(root, "test_resnet", init=file)
    state, anew = trainer.adapt_weights(trainer.model(), dict(source.state_dict()))
    assert not anew
    assert torch.equal(state["fc.weight"], source.get_submodule("fc").weight)


def test_begins_from_the_weights_and_is_resumed_without_the_file(root: Path, tmp_path: Path) -> None:
    source, file = published("test_convnext", tmp_path)
    out = tmp_path / "run"
    first = task(root, "test_convnext", init=file, out=out, updates=1, epochs=None).fit()
    name = "stem.0.weight"
    assert torch.allclose(first.model.state_dict()[name], source.state_dict()[name], atol=0.2)
    file.unlink()
    task(root, "test_convnext", resume=out, updates=2, epochs=None).fit()


def test_another_model_in_the_file_is_refused(root: Path, tmp_path: Path) -> None:
    _, file = published("test_convnext", tmp_path)
    with pytest.raises(ConfigError, match=r"nothing of .*model.safetensors fits the model|timm cannot make these weights fit"):
        task(root, "test_resnet", init=file).fit()


def hub_folder(tmp_path: Path, name: str, **published_cfg: Any) -> Path:
    """A folder as `hf download` leaves it."""
    published(name, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name, "pretrained_cfg": published_cfg}))
    return tmp_path


def test_a_folder_of_the_hub(root: Path, tmp_path: Path) -> None:
    own = timm.models.get_pretrained_cfg("test_resnet")
    folder = hub_folder(tmp_path, "test_resnet", tag="r160_in1k", mean=list(own.mean), std=list(own.std))
    assert task(root, "test_resnet", init=folder, dry_run=True).fit().updates == 1
    with pytest.raises(
        ConfigError, match=r"has weights of timm/test_resnet.r160_in1k, .*; set task.model=timm/test_resnet.r160_in1k"
    ):
        task(root, "test_vit", init=folder)
    (tmp_path / "config.json").write_text("{")
    task(root, "test_resnet", init=folder, dry_run=True).fit()
    hub_folder(tmp_path, "test_resnet", tag="r160_in1k", mean=[0.1, 0.2, 0.3], std=list(own.std))
    with pytest.raises(ConfigError, match=r"expects pictures of mean \(0.1, 0.2, 0.3\)"):
        task(root, "test_resnet", init=folder)


SENTENCES = [
    ({"name": "resnet81"}, r"task.model=timm/resnet81: timm [\d.]+ has no such model; did you mean 'timm/resnet18'"),
    ({"name": "vit_tiny_patch16_242"}, "did you mean 'timm/vit_tiny_patch16_224'"),
    ({"name": ""}, "has no such model"),
    ({"name": "hf-hub:timm/resnet18"}, "has no such model"),
    ({"name": "resnet18.a1_in2k"}, r"no weights 'a1_in2k' of resnet18; did you mean 'a1_in1k'"),
    (
        {"name": "test_resnet", "init": "pretrained"},
        r"nothing is loaded from the Hub; .*'hf download timm/test_resnet --local-dir DIR'",
    ),
    ({"name": "test_resnet", "init": "timm/test_resnet.r160_in1k"}, r"'hf download timm/test_resnet.r160_in1k --local-dir DIR'"),
]


@pytest.mark.parametrize(("settings", "sentence"), SENTENCES)
def test_what_is_mistyped_gets_a_sentence(settings: dict[str, Any], sentence: str, root: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        task(root, **settings).fit()


@pytest.mark.parametrize("typed", ["tim/resnet18", "Timm/resnet18", "timm:resnet18", "timm/"])
def test_names_that_are_nearly_right(typed: str, root: Path) -> None:
    with pytest.raises(ConfigError, match=r"timm/"):
        Images(root=str(root), model=typed, watch=(), device="cpu").fit()


def test_pictures_that_are_too_small_get_a_sentence(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"timm/inception_v3 takes no pictures of 32 pixels .*set another task.size, such as 299"):
        task(root, "inception_v3").fit()


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "hrnet_w18_small"])
def test_a_class_that_takes_no_size_is_made_without(name: str) -> None:
    """Python says that an argument is unknown, and some classes say so themselves."""
    model = TimmModel("task.model", f"timm/{name}").make(3, 64)
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_making_a_model_moves_no_other_random_number(root: Path) -> None:
    """The trial of its input draws nothing: the weights are those of timm's own model."""
    trainer = task(root, "test_resnet")
    torch.manual_seed(3)
    one = trainer.model()
    torch.manual_seed(3)
    other = timm.create_model("test_resnet", num_classes=2)
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


PLUGINS = {
    "channels_last": ["channels_last", "amp"],
    "averages": ["ema", "finite_guard", "clip", "adamw"],
    "fold_bn": ["fold_bn", "ema"],
    "reparam": ["reparam"],
    "prune channels": ["prune", "plugins.prune.steps=1"],
    "prune weights": ["prune", "plugins.prune.mode=weights", "plugins.prune.steps=1"],
    "qat": ["qat"],
    "lowbit": ["lowbit"],
    "recompute": ["recompute"],
    "compile": ["compile", "plugins.compile.backend=eager"],
    "muon": ["muon"],
    "augment": ["augment", "plugins.augment.mixup=0.2"],
    "accumulate": ["accumulate", "oom", "norms", "batch_lr"],
    "master_weights": ["master_weights"],
    "step_in_backward": ["step_in_backward", "adamw"],
}


@pytest.mark.parametrize("plugins", PLUGINS)
@pytest.mark.parametrize("name", NAMES)
def test_plugins_train_it_or_say_why_not(name: str, plugins: str, root: Path, tmp_path: Path, capsys: Any) -> None:
    names = [word for word in PLUGINS[plugins] if "=" not in word]
    settings = [word for word in PLUGINS[plugins] if "=" in word]
    code = exit_code(lambda: train(words(root, name, f"+plugins=[{','.join(names)}]", *settings, f"out={tmp_path / 'run'}")))
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert code in (0, 2), printed.err
    if code == 2:
        assert printed.err.startswith("accel: error: "), printed.err
        pytest.skip(printed.err.strip())
    assert command("evaluate", tmp_path / "run") == 0


@pytest.mark.parametrize("target", ["pt2", "onnx"])
@pytest.mark.parametrize("name", NAMES)
def test_exports_hold(name: str, target: str, root: Path, tmp_path: Path, capsys: Any) -> None:
    skip_missing(target)
    assert train(words(root, name, f"out={tmp_path / 'run'}")) == 0
    assert command("export", tmp_path / "run", f"target={target}", "seconds=0", "preprocess=true") == 0, capsys.readouterr().err
    assert " holds " in capsys.readouterr().out
