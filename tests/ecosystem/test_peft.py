"""LoRA of the package peft: adapters are trained, the base stands still, and a run of them is resumed, loaded and merged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra ecosystem")
pytest.importorskip("peft", reason="needs the extra ecosystem")

import peft
import transformers
from safetensors.torch import load_file

import accel
from accel import Trainer
from accel.plugins import EMA, SGD, Accumulate, AdamW

pytestmark = pytest.mark.slow
RUN: dict[str, Any] = {"watch": (), "device": "cpu", "seed": 1}


def adapted() -> Any:
    """A GPT-2 with adapters of rank 2 in its attention."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "n_layer": 2, "n_embd": 16, "n_head": 2, "bos_token_id": 0, "eos_token_id": 1}
    base = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
    return peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM"))


def rows() -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    tokens = [torch.randint(64, (4, 9), generator=generator) for _ in range(6)]
    return [{"input_ids": one, "labels": one.clone()} for one in tokens]


def train(**settings: Any) -> Any:
    return Trainer(adapted(), rows(), **{"plugins": [AdamW(lr=1e-2)], **RUN, **settings}).fit()


def test_adapters_alone_are_trained() -> None:
    before, after = adapted().state_dict(), train(epochs=2).model.state_dict()
    moved = {name.split(".")[-3] for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"lora_A", "lora_B"}


SETS: dict[str, Callable[[], list[Any]]] = {
    "adamw": lambda: [AdamW(lr=1e-2)],
    "averaged": lambda: [SGD(lr=0.1), EMA(decay=0.9)],
    "accumulated": lambda: [AdamW(lr=1e-2), Accumulate(2)],
}


@pytest.mark.parametrize("make", SETS.values(), ids=SETS)
def test_a_resumed_run_is_the_unbroken_one(make: Callable[[], list[Any]], tmp_path: Path) -> None:
    whole = train(plugins=make(), epochs=2)
    train(plugins=make(), updates=2, out=tmp_path / "run")
    resumed = train(plugins=make(), epochs=2, resume=str(tmp_path / "run"))
    assert resumed.loss == whole.loss
    assert all(torch.equal(value, whole.model.state_dict()[name]) for name, value in resumed.model.state_dict().items())


def test_the_best_weights_are_loaded_and_merged(tmp_path: Path) -> None:
    result = train(epochs=2, val=rows()[:2], checkpoint_best="min:loss", out=tmp_path / "run")
    assert any("lora_A" in name for name in load_file(tmp_path / "run" / "best.safetensors"))
    loaded = accel.load(tmp_path / "run", model=adapted())
    tokens = rows()[0]["input_ids"]
    with torch.no_grad():
        expected = loaded(input_ids=tokens).logits
        merged = loaded.merge_and_unload()(input_ids=tokens).logits
    torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-6)
    assert result.metrics["loss"] > 0


def test_adapters_go_into_a_folder_of_peft(tmp_path: Path) -> None:
    result = train(epochs=1, out=tmp_path / "run")
    accel.load(tmp_path / "run", model=adapted()).save_pretrained(tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(adapted().unload(), tmp_path / "adapter")
    kept = {name: value for name, value in result.model.state_dict().items() if "lora_" in name}
    assert kept
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in kept.items())


def test_some_adapters_may_be_frozen() -> None:
    before, after = adapted().state_dict(), train(epochs=1, freeze=["*lora_A*"]).model.state_dict()
    moved = {name.split(".")[-3] for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"lora_B"}
