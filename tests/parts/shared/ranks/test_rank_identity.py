"""What is compared between ranks, with a second rank that has other facts."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from accel.errors import AccelWarning, ConfigError
from accel.parts import Parallel
from accel.parts.shared.ranks.rank_identity import CONTENT, compare, compare_content, compare_first_batch, settings_of_all_ranks
from accel.schema.settings import Settings
from accel.testing import fit_toy

CPU = torch.device("cpu")


@dataclass(eq=False)
class Two(Parallel):
    """Two ranks, of which the other one has the facts that `change` makes of those of this one, and always another digest."""

    one_run: ClassVar[bool] = True
    name: ClassVar[str] = "two"

    change: Callable[[Any], None] = field(default=lambda facts: None)
    ranks: int = 2

    @property
    def world_size(self) -> int:
        return self.ranks

    def gather(self, value: Any) -> list[Any]:
        assert self.ranks > 1, "a process alone asks nobody"
        if isinstance(value, str):
            return [value, value[::-1]]
        other = deepcopy(value)
        if isinstance(value, dict):
            self.change(other)
        return [value, other]


def test_a_process_alone_has_the_settings_that_it_has() -> None:
    settings = Settings(resume="auto")
    assert settings_of_all_ranks(settings, Two(ranks=1), [], CPU) is settings


def test_ranks_may_resume_by_another_path_and_all_or_none_resume() -> None:
    def starts_anew(facts: Any) -> None:
        facts["resume"] = None

    assert settings_of_all_ranks(Settings(resume="here"), Two(), [], CPU).resume == "here"
    with pytest.raises(ConfigError, match=r"the ranks are not one run: resume is set on rank 0 and null on rank 1; start"):
        settings_of_all_ranks(Settings(resume="here"), Two(starts_anew), [], CPU)


@pytest.mark.parametrize(
    ("mine", "other", "sentence"),
    [
        ("abc", "abd", "data.train holds other samples"),
        ("abc", None, None),
        (None, "abc", None),
        ("abc", "abc", None),
    ],
)
def test_first_samples_differ_where_both_are_known(mine: str | None, other: str | None, sentence: str | None) -> None:
    def change(facts: Any) -> None:
        facts["data"]["train"][CONTENT] = other

    facts = {"data": {"train": {CONTENT: mine, "samples": 5}}, "plugins": {"amp": {}}}
    if sentence is None:
        compare(Two(change), facts)
    else:
        with pytest.raises(ConfigError, match=f"not one run: {sentence}; start"):
            compare(Two(change), facts)


def test_nested_facts_and_plugins_that_are_off() -> None:
    def change(facts: Any) -> None:
        facts["plugins"] = {"clip": {"max_norm": 2.0}}
        facts["code"]["loss"] = "other"

    facts = {"plugins": {"amp": {}, "clip": {"max_norm": 1.0}}, "code": {"loss": "mine"}}
    with pytest.raises(ConfigError) as info:
        compare(Two(change), facts)
    assert "plugins.amp is on on rank 0 and off on rank 1" in str(info.value)
    assert "plugins.clip.max_norm is 1.0 on rank 0 and 2.0 on rank 1" in str(info.value)
    assert "the code of loss is not the same" in str(info.value)


def test_the_content_is_compared_by_ranks_and_not_by_a_process_alone() -> None:
    run: Any = fit_toy([]).spy.run

    def change(facts: Any) -> None:
        facts["task"]["width"] = 5

    run.parts.parallel = Two(change)
    with pytest.raises(ConfigError, match=r"task.width is 4 on rank 0 and 5 on rank 1"):
        compare_content(run, {"width": 4})
    for parallel in (Two(change, ranks=1), Parallel()):
        run.parts.parallel = parallel
        compare_content(run, {"width": 4})


@pytest.mark.parametrize(("again", "ranks"), [("abc", 2), ("abd", 2), ("abc", 1)])
def test_first_batches(again: str, ranks: int) -> None:
    parallel = Two(ranks=ranks)
    run: Any = SimpleNamespace(parts=SimpleNamespace(parallel=parallel))
    batches: Any = SimpleNamespace(first_digest="abc", is_compared=False, own_split=None, digest_again=lambda: again)
    if ranks == 1:
        compare_first_batch(run, batches)
    elif again == "abc":
        with pytest.raises(ConfigError, match="two: rank 1 reads another first batch than rank 0"):
            compare_first_batch(run, batches)
    else:
        with pytest.warns(AccelWarning, match="the first batch of the data is another each time it is read"):
            compare_first_batch(run, batches)
    compare_first_batch(run, batches)  # once only
