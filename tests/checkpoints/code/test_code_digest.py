"""A digest of code changes with whatever is computed, and with nothing else."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import linecache
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from accel.checkpoints.code import code_digests, task_code
from accel.checkpoints.code.code_digest import digest_of
from accel.trainer import Trainer

NUMBER = itertools.count()

SOURCE = """
import functools
import torch
from torch import nn
from torch.nn import functional as F

SMOOTHING = 0.1
WEIGHTS = torch.tensor([1.0, 2.0])
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

def scaled(x):
    return x * 2

def loss(model, batch):
    return F.cross_entropy(scaled(model(batch[0])), batch[1], label_smoothing=SMOOTHING, weight=WEIGHTS)

def made(alpha):
    def inner(model, batch):
        return model(batch[0]).sum() * alpha
    return inner

closure = made(3)
part = functools.partial(loss, factor=1)
first, second = lambda model, batch: model(batch[0]).sum(), lambda model, batch: model(batch[0]).mean()

@torch.no_grad()
def decorated(model, batch):
    return scaled(model(batch[0]))

def by_criterion(model, batch):
    return criterion(model(batch[0]), batch[1])

class Loss:
    margin = 1.0
    def __init__(self, weight=1.0):
        self.weight = weight
    @property
    def double(self):
        return 2 * self.weight
    def __call__(self, model, batch):
        return self.hinge(model(batch[0])) * self.double
    @staticmethod
    def hinge(x):
        return torch.relu(Loss.margin - x).mean()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
    def forward(self, x):
        return scaled(self.layer(x))

class Rows(torch.utils.data.Dataset):
    def __init__(self, transform=None):
        self.transform = transform
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return self.transform(index)
"""


def module(folder: Path, *changes: tuple[str, str], header: str = "") -> Any:
    """Return the module of the source with some texts replaced, imported from a file of its own."""
    text = SOURCE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / f"user_code_{next(NUMBER)}.py"
    path.write_text(header + text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    imported = importlib.util.module_from_spec(spec)
    importlib.sys.modules[path.stem] = imported  # type: ignore[attr-defined]
    spec.loader.exec_module(imported)
    return imported


USES: dict[str, Callable[[Any], Any]] = {
    "loss": lambda code: code.loss, "closure": lambda code: code.closure, "partial": lambda code: code.part,
    "first": lambda code: code.first, "second": lambda code: code.second, "decorated": lambda code: code.decorated,
    "criterion": lambda code: code.by_criterion, "callable": lambda code: code.Loss(), "method": lambda code: code.Loss().__call__,
    "model": lambda code: code.Net(), "inner model": lambda code: nn.Sequential(code.Net(), nn.ReLU()),
    "data": lambda code: code.Rows(code.scaled), "subset": lambda code: Subset(code.Rows(code.scaled), [0, 1]),
    "loader": lambda code: DataLoader(code.Rows(code.scaled), collate_fn=code.scaled),
}  # fmt: skip

EDITS = [
    (("x * 2", "x * 3"), {"loss", "partial", "decorated", "model", "inner model", "data", "subset", "loader"}),
    (("SMOOTHING = 0.1", "SMOOTHING = 0.2"), {"loss", "partial"}),
    (("tensor([1.0, 2.0])", "tensor([1.0, 3.0])"), {"loss", "partial"}),
    (("loss(label_smoothing=0.1)".replace("loss", "Loss"), "Loss(label_smoothing=0.2)"), {"criterion"}),
    (("made(3)", "made(4)"), {"closure"}),
    (("factor=1", "factor=2"), {"partial"}),
    (("batch: model(batch[0]).mean()", "batch: model(batch[0]).max()"), {"second"}),
    (("return model(batch[0]).sum() * alpha", "return model(batch[0]).sum() / alpha"), {"closure"}),
    (("margin = 1.0", "margin = 2.0"), {"callable", "method"}),
    (("return 2 * self.weight", "return 3 * self.weight"), {"callable", "method"}),
    (("Loss.margin - x", "Loss.margin + x"), {"callable", "method"}),
    (("scaled(self.layer(x))", "self.layer(x)"), {"model", "inner model"}),
    (("return self.transform(index)", "return self.transform(index) + 1"), {"data", "subset", "loader"}),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "changed"), EDITS, ids=[new for (_, new), _ in EDITS])
def test_an_edit_changes_whatever_reaches_it(tmp_path: Path, edit: tuple[str, str], changed: set[str]) -> None:
    before, after = module(tmp_path), module(tmp_path, edit)
    assert {name for name, use in USES.items() if digest_of([use(before)]) != digest_of([use(after)])} == changed


HARMLESS = [
    ("return x * 2", "# twice\n    return (\n        x * 2\n    )"), ("return x * 2", "'''Twice.'''\n    return x  *  2"),
    ("def scaled(x)", "def scaled(x: torch.Tensor) -> torch.Tensor"), ("class Net", "# the net\n\n\nclass Net"),
    ("class Loss:", "class Loss:\n    '''A loss.'''\n"), ("SMOOTHING = 0.1", "SMOOTHING = 0.10  # of labels"),
]  # fmt: skip


@pytest.mark.parametrize("edit", HARMLESS, ids=range(len(HARMLESS)))
def test_comments_and_formatting_change_nothing(tmp_path: Path, edit: tuple[str, str]) -> None:
    before, after = module(tmp_path), module(tmp_path, edit, header="# another head\n\n")
    assert {name for name, use in USES.items() if digest_of([use(before)]) != digest_of([use(after)])} == set()


def typed(text: str) -> Any:
    """Return `loss` of code that has no file, as a notebook or a pipe has it."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, f"<typed {next(NUMBER)}>", "exec"), scope)
    return scope["loss"]


def test_code_without_a_source_is_told_apart_by_its_bytecode() -> None:
    loss = "def loss(m, b):\n    return half(m(b)) if b in {1, 'a', (2, 3)} else (lambda y: y + 1)(b)\n"
    text = f"K = 2\ndef half(x):\n    return x / K\n{loss}"
    commented = text.replace("return half", "'''Doc.'''\n    return half")
    assert digest_of([typed(text)]) == digest_of([typed(f"# comment\n\n{commented}")])
    for old, new in (("K = 2", "K = 3"), ("x / K", "x * K"), ("y + 1", "y + 2"), ("(2, 3)", "(2, 4)"), ("'a'", "'b'")):
        assert digest_of([typed(text)]) != digest_of([typed(text.replace(old, new))]), new


def test_a_cell_of_a_notebook_is_read_from_where_python_keeps_it() -> None:
    digests = []
    for text in ("loss = lambda m, b: m(b).sum()", "loss = lambda m, b: (m(b)\n    .sum())"):
        name = f"<cell {next(NUMBER)}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        scope: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(text, name, "exec"), scope)
        digests.append(digest_of([scope["loss"]]))
    assert digests[0] == digests[1]


def test_methods_of_a_task_are_told_apart_with_what_they_call() -> None:
    class Task(Trainer):
        factor = 2

        def loss(self, model: nn.Module, batch: Any) -> Any:
            return self.twice(model(batch[0]).mean())

        def twice(self, x: Any) -> Any:
            return x * self.factor

        def model(self) -> nn.Module:
            return nn.Linear(2, 2)

    class Other(Task):
        factor = 3

    class Wrapped(Task):
        def loss(self, model: nn.Module, batch: Any) -> Any:
            return super().loss(model, batch) + 1

    digests = [code_digests(task_code(kind(), Trainer, kind().given)) for kind in (Task, Other, Wrapped)]
    assert [set(one) for one in digests] == [{"loss", "model"}] * 3
    assert len({one["loss"] for one in digests}) == 3
    assert len({one["model"] for one in digests}) == 1
    assert code_digests(task_code(Task(), Trainer, {"loss": typed}))["loss"] != digests[0]["loss"]


def test_modules_of_the_user_that_import_each_other(tmp_path: Path) -> None:
    digests = []
    for edit in ((), (("x * 2", "x * 3"),)):
        one, other = module(tmp_path, *edit), module(tmp_path)
        one.other, other.one = other, one
        other.loss = typed("def loss(model, batch):\n    return one.other.one.scaled(model(batch))\n")
        other.loss.__globals__["one"] = one
        digests.append(digest_of([other.loss]))
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (nn.ReLU(), nn.GELU(), False), (nn.Dropout(0.1), nn.Dropout(0.2), False), (nn.Linear(2, 2), nn.Linear(2, 2).eval(), True),
        (TensorDataset(torch.zeros(2)), TensorDataset(torch.ones(3)), True),
        (functools.partial(torch.add, alpha=1), functools.partial(torch.add, alpha=2), False),
    ],
)  # fmt: skip
def test_what_libraries_made_counts_by_its_kind_and_settings(before: Any, after: Any, same: bool) -> None:
    assert (digest_of([before]) == digest_of([after])) == same


class Loop(Dataset[int]):
    """Objects that lead back to themselves, and an object that is its own description."""

    def __init__(self) -> None:
        self.again, self.files, self.rank = [self], [str(number) for number in range(10_000)], id(self)

    def __getitem__(self, index: int) -> int:
        return index

    def __repr__(self) -> str:
        raise RuntimeError("nobody calls this")


def test_values_are_no_code() -> None:
    assert digest_of([Loop()]) == digest_of([Loop()]) != ""


def test_accels_own_code_has_no_digest() -> None:
    from accel.tasks.digits import Digits

    assert code_digests(task_code(Digits(), Trainer, Digits().given)) == {}
    assert digest_of([None]) == ""


def test_a_class_with_another_base_of_a_library_is_other_code() -> None:
    def derived(base: type) -> type:
        class Mine(base):  # type: ignore[misc]
            pass

        return Mine

    digests = {digest_of([derived(base)]) for base in (nn.Linear, nn.Bilinear, nn.Linear)}
    assert len(digests) == 2
