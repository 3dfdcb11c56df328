"""The examples of other tools are tasks that train, and what the tools print becomes a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from traced.answers import RIGHT, accel_answer, bound_shares, is_right, slowai_answer, traceml_answer
from traced.examples import EXAMPLES, Example
from traced.task import Traced

QUICK = [name for name, example in EXAMPLES.items() if example.source.startswith("TraceML") and not example.per_sample]


@pytest.mark.parametrize("name", QUICK)
def test_an_example_is_a_task_that_trains(name: str) -> None:
    result = Traced(name, plugins=["adamw"], watch=(), updates=2, batch_size=EXAMPLES[name].loader_batch, seed=0).fit()
    assert result.updates == 2


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_network_takes_its_samples(name: str) -> None:
    example = EXAMPLES[name]
    with torch.device("meta"):
        model = example.network()
        outputs = model(torch.empty(2, *example.shape))
    assert outputs.shape == ((2, example.classes) if example.classes else outputs.shape)


def test_only_the_slow_rank_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    example, waits = EXAMPLES["ranks slow input"], []
    monkeypatch.setattr("time.sleep", waits.append)
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert len(example.data()[3]) == 2
    assert waits == [pytest.approx(0.05 / example.batch_size)]


def test_resnet50_has_as_many_parameters_as_its_paper_says() -> None:
    with torch.device("meta"):
        assert sum(param.numel() for param in EXAMPLES["ResNet-50"].network().parameters()) == 25_557_032


def test_the_cause_is_named_by_the_right_verdict_alone() -> None:
    assert is_right("accel", "data", {"kind": "data-bound", "says": "data-bound: ..."})
    assert is_right("traceml", "slow reader", {"kind": "INPUT_STRAGGLER", "says": "r0 waited 50 ms"})
    assert not is_right("traceml", "slow reader", {"kind": "INPUT_STRAGGLER", "says": "r1 waited 50 ms"})
    assert is_right("slowai", "overhead", {"kind": "overhead", "says": "overhead"})
    assert not is_right("slowai", "data", {"kind": "unknown", "says": "unknown"}), "it has no word for it"
    assert not is_right("accel", "data", {"failed": "does not run"})
    assert {example.cause for example in EXAMPLES.values()} - {""} == set(RIGHT["accel"])


def test_answers_keep_the_words_of_the_tools() -> None:
    primary = {"kind": "INPUT_BOUND", "status": "INPUT-BOUND", "severity": "crit", "summary": "It waits.", "action": "Add workers."}
    assert traceml_answer({"primary_diagnosis": primary, "duration_s": 3.2})["says"] == "INPUT-BOUND (crit): It waits."
    tried = [
        {"name": "torch_compile", "speedup": 1.3, "error": None, "remedied_wall_s": 1.0},
        {"name": "tensorrt", "speedup": 0.0, "error": "not installed", "remedied_wall_s": -1.0},
    ]
    baseline = {"regime": "overhead", "confidence": 0.85, "evidence": {"wall_time_s": 1.3}, "top_fixes": []}
    answer = slowai_answer({"baseline": baseline, "remedies": tried, "best": "torch_compile"})
    assert answer["says"] == "overhead (confidence 0.85)"
    assert answer["next"] == "winner torch_compile; tried once each: torch_compile 1.30x"
    assert slowai_answer({**baseline, "top_fixes": ["Compile.", "Or not."]})["next"] == "advice: Compile."
    assert answer["failed_remedies"] == ["tensorrt: not installed"]


def test_of_a_diagnosis_the_first_remedies_are_kept_with_their_bounds() -> None:
    def remedy(name: str, speed: Any, ceiling: float | None) -> dict[str, Any]:
        return {"type": name, "speed_up": speed, "ceiling": ceiling}

    document = {
        "verdict": {"kind": "data-bound", "sentence": "data-bound: it waits"}, "states": [{"problem": "a swap"}], "seconds": 41.0,
        "split": {}, "figures": {"host_reads": {}},
        "remedies": [remedy("workers", {"middle": 2.0, "low": 1.8, "high": 2.5}, 3.0), remedy("more", None, 1.5)],
    }  # fmt: skip
    answer = accel_answer(document)
    assert answer["next"] == "`workers` 2.00x (1.80 to 2.50); `more` at most 1.50x"
    assert (answer["kind"], answer["states"], answer["took"]) == ("data-bound", ["a swap"], "41 s")


def test_layers_are_summed_by_what_bounds_them() -> None:
    layers = [{"bound": "memory", "share": 0.25}, {"bound": "compute", "share": 0.5}, {"bound": "memory", "share": 0.125}]
    assert bound_shares({"layers": layers}) == {"memory": 0.375, "compute": 0.5}


def test_the_table_counts_who_names_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    from tracers import table

    head = {"versions": {}, "load": None, "threads": 1, "date": "", "cpu": "", "cores": 2, "os": "", "python": "", "command": ""}

    def row(cause: str, kind: str) -> dict[str, Any]:
        answers = {
            "accel": {"kind": kind, "says": kind, "next": "`workers`", "took": "9 s", "others_percent": 7.4},
            "slowai": {"failed": "needs CUDA"},
        }
        return {"example": "one", "source": "S", "injected": "", "cause": cause, "answers": answers}

    text = table(head | {"rows": [row("data", "data-bound"), row("data", "host-bound"), row("", "host-bound")]})
    assert "accel doctor names the cause of 1 of 2" in text
    assert "slowai names the cause of 0 of 2" in text
    assert "| slowai | - | needs CUDA |  |  |" in text
    assert text.count("| accel doctor | host-bound | `workers` | 9 s | 7 % |") == 2


def test_an_example_says_whose_it_is() -> None:
    assert {example.source.split(",")[0] for example in EXAMPLES.values()} == {"TraceML", "slowai"}
    assert all(isinstance(example, Example) and bool(example.cause) == bool(example.injected) for example in EXAMPLES.values())
