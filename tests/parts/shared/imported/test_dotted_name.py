"""What a dotted name stands for, and what is wrong with one that stands for nothing."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from accel.errors import ConfigError
from accel.parts.shared.imported.dotted_name import accepted_names, check_arguments, dotted_name, is_users, resolve


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("torch.optim.RAdam", torch.optim.RAdam),
        ("torch.optim.radam.RAdam", torch.optim.RAdam),
        ("functools.partial", functools.partial),
        ("torch.nn.Module.train", torch.nn.Module.train),
    ],
)
def test_it_is_imported(name: str, expected: Any) -> None:
    assert resolve("it", name, "torch.optim.RAdam") is expected
    assert resolve("it", expected, "torch.optim.RAdam") is expected


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("RAdam", "it must be a dotted name, such as torch.optim.RAdam, not 'RAdam'; did you mean torch.optim.RAdam?"),
        ("RAdm", "it must be a dotted name, such as torch.optim.RAdam, not 'RAdm'; did you mean 'RAdam'?"),
        ("torch.optim.", "it must be a dotted name, such as torch.optim.RAdam, not 'torch.optim.'"),
        ("torch.optimm.RAdam", "it=torch.optimm.RAdam: torch has no 'optimm'; did you mean 'optim'?"),
        (
            "some_package.Adam",
            "it=some_package.Adam: there is no module 'some_package'; install its package (pip install some-package), or mend the "
            "name",
        ),
        ("torch.__version__", "it must be the dotted name of a class or a function, such as torch.optim.RAdam, not a TorchVersion"),
        (7, "it must be the dotted name of a class or a function, such as torch.optim.RAdam, not a int"),
    ],
)
def test_what_is_not_there_is_said(target: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve("it", target, "torch.optim.RAdam")
    assert str(error.value) == sentence


def test_a_module_that_cannot_be_imported_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_one.py").write_text("raise RuntimeError('no GPU here\\nat all')")
    (tmp_path / "needy_one.py").write_text("import nothing_of_the_kind")
    with pytest.raises(ConfigError, match=r"it=broken_one\.A: broken_one cannot be imported: no GPU here$"):
        resolve("it", "broken_one.A", "torch.optim.RAdam")
    with pytest.raises(ConfigError, match="needy_one needs the module 'nothing_of_the_kind', which is not installed"):
        resolve("it", "needy_one.A", "torch.optim.RAdam")


def test_arguments_are_compared_with_the_signature() -> None:
    def made(params: Any, lr: float, *, decay: float = 0.0, **others: Any) -> None: ...

    assert list(accepted_names(made)[0]) == ["lr", "decay"]
    check_arguments("it", "made", made, {"lr": 1, "foreach": True})
    with pytest.raises(ConfigError, match=r"it: made takes no deccay; did you mean 'decay'\?"):
        check_arguments("it", "made", made, {"lr": 1, "deccay": 1})
    with pytest.raises(ConfigError, match=r"it: made needs lr; add it, as in it=\{lr:VALUE\}"):
        check_arguments("it", "made", made, {})
    with pytest.raises(ConfigError, match=r"it: made takes its arguments by name, and 1 is none; write \{NAME: VALUE\}"):
        check_arguments("it", "made", made, {1: 2})  # type: ignore[dict-item]
    assert accepted_names(functools.partial(made, lr=3))[0].keys() == {"lr", "decay"}


def test_code_of_the_user_is_told_from_a_packages() -> None:
    assert not is_users(torch.optim.SGD)
    assert is_users(lambda params: None)
    assert dotted_name(torch.optim.SGD) == "torch.optim.sgd.SGD"
    assert dotted_name(functools.partial(torch.optim.SGD)) == "torch.optim.sgd.SGD"
    assert is_users(functools.partial(torch.optim.SGD, momentum=0.5))
