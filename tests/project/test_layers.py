"""Who may import whom: parts <- plugins, parts <- trainer <- train; Hydra in the command line only; extras in their own file."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.support.source_trees import trees

ORDER = [
    *("errors", "values", "system compare", "schema device report", "data optim compress", "parts"),
    *("checkpoints plugins", "engine", "trainer", "tasks testing diagnose export pieces", "cli"),
]
"""Each row may use the rows before it. Within a row, and within `plugins`, nobody uses the other."""
MAY_IMPORT = {
    name: {lower for below in ORDER[:height] for lower in below.split()} | {name}
    for height, row in enumerate(ORDER)
    for name in row.split()
}
MAY_IMPORT |= {"plugins": MAY_IMPORT["plugins"] - {"plugins"}, "engine": MAY_IMPORT["engine"] - {"plugins"}}
MAY_IMPORT |= {"__init__": {"errors", "system"}, "__main__": {"cli", "errors"}, "train": {"cli"}}
OLD_NAMES = "accel.system.deprecation.old_paths"
"""It imports nothing of accel, and every layer may use it."""
OPTIONAL = {
    "sklearn": {"tasks/digits.py"},
    "PIL": {"data/codecs/pillow_decoder.py"},
    "tensorboard": {"plugins/tensorboard.py"},
    "wandb": {"plugins/wandb.py"},
    "mlflow": {"plugins/mlflow.py"},
    "lmdb": {"data/stores/lmdb_store.py"},
    "cv2": {"data/codecs/opencv_decoder.py"},
    "simplejpeg": {"data/codecs/simplejpeg_decoder.py"},
    "nvidia": {"data/loaders/dali_pipeline.py"},
    "fsspec": {"data/remote/fsspec_client.py"},
    "google_crc32c": {"data/shards/crc32c.py"},
    "prefetch_generator": {"data/loaders/read_ahead.py"},
    "torch_pruning": {"compress/pruning/channel_tracing.py"},
    "torchao": {"compress/quantisation/torchao_pt2e.py", "export/targets/executorch.py"},
    "onnx": {"export/targets/onnx.py", *(f"export/quantisation/onnx_{name}.py" for name in ("integers", "layers", "source"))},
    "onnxruntime": {
        *("export/engines/ort_session.py", "export/quantisation/onnx_ranges.py"),
        *("export/quantisation/onnx_integers.py", "export/quantisation/onnx_source.py"),
    },
    "openvino": {"export/targets/openvino.py"},
    "pnnx": {"export/targets/ncnn.py"},
    "ncnn": {"export/targets/ncnn.py"},
    "MNN": {"export/targets/mnn.py"},
    "_tools": {"export/targets/mnn.py"},
    "ai_edge_litert": {"export/targets/litert.py"},
    "litert_torch": {"export/targets/litert.py"},
    "executorch": {"export/targets/executorch.py"},
    "tvm": {"export/targets/tvm.py"},
    "tensorrt": {"export/targets/build_engine.py", "export/targets/tensorrt.py"},
    "transformers": {"tasks/language/pretrained.py"},
    "tokenizers": {"tasks/language/bpe.py"},
    "datasets": {"tasks/language/saved_dataset.py"},
    "submitit": {"cli/submit/submit.py", "cli/submit/node.py"},
    "hydra_plugins": {"cli/submit/submit.py"},
}
COMMAND_ONLY = {"hydra", "omegaconf", "yaml"}


def layer(relative: str) -> str:
    """Return the folder or module of accel/ that a file is in or is."""
    return relative.partition("/")[0].removesuffix(".py")


def imports(tree: ast.Module) -> list[tuple[str, bool]]:
    """Every module imported, and whether only for types."""
    typing_only = {
        id(inner) for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }  # fmt: skip
    actual = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            actual += [(alias.name, id(node) in typing_only) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "accel" else [node.module or ""]
            actual += [(name, id(node) in typing_only) for name in names]
    return actual


def misplaced(relative: str, tree: ast.Module) -> Iterator[str]:
    """Yield a sentence for each import that a file may not have."""
    where = layer(relative)
    for name, typing_only in imports(tree):
        if name == OLD_NAMES:
            continue
        top = name.split(".")[0]
        if top == "accel" and not typing_only and "." in name and where != "__init__":
            to = name.split(".")[1]
            if to not in MAY_IMPORT[where]:
                yield f"{relative} ({where}) must not import {name}"
            if where == to == "plugins":
                yield f"{relative}: a plugin must not import a plugin"
        if top in COMMAND_ONLY and where != "cli":
            yield f"{relative}: only the command line imports {top}"
        if top in OPTIONAL and not typing_only and relative not in OPTIONAL[top]:
            yield f"{relative}: {top} is optional, and belongs in {OPTIONAL[top] or 'its plugin'}"


def test_imports_point_one_way() -> None:
    assert [sentence for relative, tree in trees() for sentence in misplaced(relative, tree)] == []


ALIVE = {
    "from accel.trainer import Trainer": "plugins/ema.py (plugins) must not import accel.trainer",
    "from accel.plugins.amp import AMP": "plugins/ema.py: a plugin must not import a plugin",
    "import hydra": "plugins/ema.py: only the command line imports hydra",
    "import lmdb": "plugins/ema.py: lmdb is optional, and belongs in {'data/stores/lmdb_store.py'}",
}


def test_the_rule_is_alive() -> None:
    for text, sentence in ALIVE.items():
        assert sentence in list(misplaced("plugins/ema.py", ast.parse(text)))
    typed = "if TYPE_CHECKING:\n    from accel.trainer import Trainer"
    assert list(misplaced("plugins/ema.py", ast.parse(typed))) == [], "imports for types alone are told apart"
    assert "trainer" not in MAY_IMPORT["plugins"] | MAY_IMPORT["engine"]
    assert "plugins" not in MAY_IMPORT["plugins"] | MAY_IMPORT["engine"]


ARROW_BACK = ("accel.parts.run", "accel.parts.all_parts")
"""The one arrow against the order, for types alone: parts are set up with a Run, and a Run holds its parts."""


def graph() -> dict[str, set[str]]:
    """Modules of accel, each with those that it imports when it is imported, or for its types."""
    names = {f"accel.{name.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__"): tree for name, tree in trees()}
    arrows: dict[str, set[str]] = {}
    for name, tree in names.items():
        late = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
        targets = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and id(node) not in late:
                modules = {f"{node.module}.{alias.name}" for alias in node.names} & names.keys()
                targets |= modules or {node.module} & names.keys()
        arrows[name] = targets
    return arrows


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Modules left when those that import none of the others are taken away again and again."""
    left = dict(arrows)
    while free := [name for name, targets in left.items() if not targets & left.keys() - {name}]:
        for name in free:
            del left[name]
    return sorted(left)


def test_no_two_modules_need_each_other() -> None:
    arrows = graph()
    start, end = ARROW_BACK
    assert end in arrows[start]
    assert len(circle(arrows)) > 1, "with the arrow back there is a circle: the search can fail"
    arrows[start].discard(end)
    arrows["accel"] = set()  # its names are imported when they are asked for
    assert circle(arrows) == []
