"""What docs/guides/coming-from/hf-trainer.md says of the HF Trainer and of accel beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.coming_from import Printed, changed, run
from tests.support.forked_process import run_script

pytest.importorskip("transformers", reason="needs the extra ecosystem")
pytest.importorskip("accelerate", reason="needs the extra ecosystem")
pytestmark = pytest.mark.slow

GPT2 = {"LlamaForCausalLM(LlamaConfig(vocab_size=512, max_position_embeddings=96, **sizes))": (
    "GPT2LMHeadModel(GPT2Config(vocab_size=512, n_positions=96, n_embd=64, n_layer=2, n_head=2, "
    "resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))"
), "LlamaConfig": "GPT2Config", "LlamaForCausalLM": "GPT2LMHeadModel"}  # fmt: skip
EVALUATED = """
import torch
losses, tokens, means = 0.0, 0, []
model.eval()
for batch in DataLoader(test_set, batch_size=8, collate_fn=collate):
    with torch.no_grad():
        loss, count = loss_of(model, batch)
    losses, tokens, means = losses + loss.item() * count.item(), tokens + count.item(), [*means, loss.item()]
print(f"epoch {losses / tokens:.4f} {sum(means) / len(means):.4f}")
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Printed, Printed]:
    folder = tmp_path_factory.mktemp("hf")
    return run("hf_trainer_before", folder / "before"), run("hf_trainer_after", folder / "after")


def test_the_losses_are_the_same(pair: tuple[Printed, Printed]) -> None:
    before, after = pair
    assert len(before.losses) == len(after.losses) == 24
    assert max(before.differences(after).values()) < 1e-6


def test_an_evaluation_is_a_mean_over_tokens_here_and_over_batches_there(pair: tuple[Printed, Printed], tmp_path: Path) -> None:
    before, after = (float(printed.metrics[-1].split()[-1]) for printed in pair)
    program = changed("hf_trainer_after", tmp_path, {})
    program.write_text(program.read_text() + EVALUATED)
    printed = run_script(program, cwd=tmp_path)
    assert printed.code == 0, printed.stdout + printed.stderr
    (means,) = re.findall(r"^epoch (\d\S*) (\d\S*)$", printed.stdout, re.MULTILINE)
    over_tokens, over_batches = map(float, means)
    assert abs(after - over_tokens) < 2e-4
    assert abs(before - over_batches) < 2e-4
    assert abs(over_tokens - over_batches) > 1e-3


def test_labels_that_none_predicts_count_for_some_classes(tmp_path: Path) -> None:
    before, after = (run(f"hf_trainer_{side}", tmp_path / side, GPT2) for side in ("before", "after"))
    shares = [float(before.losses[number]) / float(after.losses[number]) for number in (1, 2)]
    assert all(0.98 < share < 0.995 for share in shares), "one label of each text, of some 80"
