"""Models, tokenisers and collators of transformers in a Trainer: what a loop of one's own computes, by every reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra ecosystem")

import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import BatchEncoding, DataCollatorForLanguageModeling, DataCollatorForSeq2Seq, DataCollatorWithPadding

import accel
from accel import Trainer
from accel.data.loaders.device_copy import map_tensors
from accel.data.sampling import permutation
from accel.plugins import EMA, LAMB, OOM, SGD, Accumulate, AdamW, Prefetch, Recompute, Threads, Workers
from accel.tasks.language.bpe import SPECIAL, train_bpe
from tests.ecosystem.test_hf_task import Losses
from tests.support.small_texts import WORDS

RUN: dict[str, Any] = {"watch": (), "device": "cpu"}
SIZES = {"vocab_size": 300, "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2}


def sentences(count: int) -> list[str]:
    """Sentences of 1 to 9 words."""
    return [" ".join(WORDS[(number * 5 + place * 3) % len(WORDS)] for place in range(1 + number % 9)) for number in range(count)]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    backend = train_bpe(sentences(60), 300)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL)


class Encoded(Dataset[Any]):
    """A sentence a sample, as the tokeniser gives it: a BatchEncoding of lists."""

    def __init__(self, tokenizer: Any, count: int = 22, **more: Callable[[int], Any]) -> None:
        self.rows = [tokenizer(text, return_token_type_ids=False) for text in sentences(count)]
        for name, value in more.items():
            for number, row in enumerate(self.rows):
                row[name] = value(number)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


def bert() -> Any:
    config = transformers.BertConfig(**SIZES, intermediate_size=32, num_labels=2, hidden_dropout_prob=0.1)
    return transformers.BertForSequenceClassification(config)


def gpt2(**more: Any) -> Any:
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=300, n_layer=2, n_embd=16, n_head=2, **more))


def t5(**more: Any) -> Any:
    sizes = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 1, "pad_token_id": 1}
    return transformers.T5ForConditionalGeneration(transformers.T5Config(vocab_size=300, **{**sizes, **more}))


def case(name: str, tokenizer: Any, **more: Any) -> tuple[Callable[[], Any], Dataset[Any], Any]:
    """A model, its data and transformers' own collator for it."""
    if name == "bert":
        return bert, Encoded(tokenizer, labels=lambda number: number % 2), DataCollatorWithPadding(tokenizer)
    if name == "gpt2":
        return lambda: gpt2(**more), Encoded(tokenizer), DataCollatorForLanguageModeling(tokenizer, mlm=False)
    data = Encoded(tokenizer, labels=lambda number: tokenizer(sentences(number + 1)[-1])["input_ids"])
    return lambda: t5(**more), data, DataCollatorForSeq2Seq(tokenizer)


CASES = ["bert", "gpt2", "t5"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_model_trains_as_in_a_loop_of_ones_own(name: str, tokenizer: Any) -> None:
    """No loss is given: the model's is taken. Padding, labels of -100 and tied weights are as transformers makes them."""
    make, data, collator = case(name, tokenizer)
    torch.manual_seed(3)
    model, losses = make(), Losses()
    Trainer(model, data, collate=collator, plugins=[AdamW(lr=1e-3), losses], epochs=2, batch_size=5, seed=3, **RUN).fit()
    torch.manual_seed(3)
    own, expected = make(), []
    optim = torch.optim.AdamW(own.parameters(), lr=1e-3, fused=True)
    torch.manual_seed(3)
    own.train()
    for epoch in range(2):
        for keys in permutation(len(data), 3, epoch).split(5):  # type: ignore[arg-type]
            loss = own(**collator([data[key] for key in keys.tolist()])).loss
            optim.zero_grad()
            loss.backward()
            optim.step()
            expected.append(float(loss))
    assert losses.seen == expected
    assert all(torch.equal(value, own.state_dict()[key]) for key, value in model.state_dict().items())


FORMS: dict[str, Callable[[nn.Module, Any], Any]] = {
    "output": lambda model, batch: model(**batch),
    "loss": lambda model, batch: model(**batch).loss,
    "dict": lambda model, batch: {"loss": model(**batch).loss},
    "tuple": lambda model, batch: (model(**batch).loss, {"two": 2.0}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_loss_is_the_same(form: str, tokenizer: Any) -> None:
    make, data, collator = case("bert", tokenizer)
    results = []
    for loss in (None, FORMS[form]):
        torch.manual_seed(0)
        results.append(Trainer(make(), data, loss=loss, collate=collator, plugins=[SGD(lr=0.1)], updates=3, **RUN).fit().loss)
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_reader_gives_the_same(name: str, tokenizer: Any) -> None:
    make, data, collator = case(name, tokenizer)

    def losses(*plugins: Any, data: Any = data, **settings: Any) -> list[float]:
        torch.manual_seed(0)
        watch = Losses()
        Trainer(make(), data, plugins=[SGD(lr=0.1), watch, *plugins], epochs=1, **settings, **RUN).fit()
        return watch.seen

    sized: dict[str, Any] = {"collate": collator, "batch_size": 5}
    plain = losses(**sized)
    assert plain == losses(Threads(count=2), **sized) == losses(Workers(count=1), **sized) == losses(Prefetch(), **sized)
    ordered = losses(data=DataLoader(data, 5, collate_fn=collator))  # type: ignore[arg-type]
    assert ordered == losses(Prefetch(), data=DataLoader(data, 5, collate_fn=collator))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_accumulated_batches_are_the_big_one(name: str, tokenizer: Any) -> None:
    """In float64, without dropout: tokens of -100 and padding weigh nothing, whatever they are divided into."""
    still = {"gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}, "t5": {"dropout_rate": 0.0}}.get(name, {})
    make, data, collator = case(name, tokenizer, **still)
    rows = [data[index] for index in range(20)]
    torch.manual_seed(0)
    start = make().double()
    start.config.hidden_dropout_prob = 0.0
    for module in start.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    moved = []
    for size, plugins in ((20, []), (5, [Accumulate(4)])):
        model = make().double()
        model.load_state_dict(start.state_dict())
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        batches = [collator(rows[begin : begin + size]) for begin in range(0, 20, size)]
        Trainer(model, batches, plugins=[SGD(lr=1.0, momentum=0.0), *plugins], epochs=1, **RUN).fit()
        moved.append(model.state_dict())
    for key, value in moved[0].items():
        torch.testing.assert_close(moved[1][key], value, rtol=1e-5, atol=1e-7)
    assert any(not torch.equal(value, start.state_dict()[key]) for key, value in moved[0].items())


@pytest.mark.slow
def test_a_batch_of_a_tokeniser_is_cut_where_memory_is_short(tokenizer: Any) -> None:
    """OOM halves micro-batches: a BatchEncoding is cut as a dict is, and stays one."""
    make, data, collator = case("bert", tokenizer)
    batch = collator([data[index] for index in range(6)])
    assert type(batch) is BatchEncoding
    moved = map_tensors(batch, lambda tensor: tensor.clone())
    assert type(moved) is BatchEncoding
    kinds: list[type] = []

    def loss(model: nn.Module, batch: Any) -> Tensor:
        kinds.append(type(batch))
        if len(batch["labels"]) > 3:
            raise torch.OutOfMemoryError("as if")
        out: Tensor = model(**batch).loss
        return out

    with pytest.warns(accel.errors.AccelWarning):  # type: ignore[attr-defined]
        Trainer(make(), [batch], loss=loss, plugins=[OOM()], epochs=1, **RUN).fit()
    assert set(kinds) == {BatchEncoding}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "t5"])
@pytest.mark.parametrize("optim", [AdamW, LAMB])
def test_tied_weights_are_one_weight(name: str, optim: Any, tokenizer: Any, tmp_path: Path) -> None:
    """Moved once an update, counted and averaged once, saved once, and tied again when they are loaded."""
    make, data, collator = case(name, tokenizer)
    settings: dict[str, Any] = {"collate": collator, "batch_size": 5, "seed": 1, **RUN}

    def train(**more: Any) -> Any:
        torch.manual_seed(1)
        return Trainer(make(), data, plugins=[optim(lr=1e-2), EMA(decay=0.9)], **settings, **more).fit()

    whole = train(updates=7, out=tmp_path / "whole")
    own = dict(whole.model.named_parameters())
    assert len({id(param) for param in own.values()}) == len(own)
    tied = [
        key
        for key, value in whole.model.state_dict().items()
        if value.data_ptr() == whole.model.get_input_embeddings().weight.data_ptr()
    ]
    assert len(tied) > 1
    saved = load_file(tmp_path / "whole" / "model.safetensors")
    assert len([key for key in tied if key in saved]) == 1
    loaded = accel.load(tmp_path / "whole", model=make())
    assert all(torch.equal(value, loaded.state_dict()[tied[0]]) for key, value in loaded.state_dict().items() if key in tied)
    train(updates=4, out=tmp_path / "run")
    resumed = train(updates=7, resume=str(tmp_path / "run"))
    assert resumed.loss == whole.loss
    assert all(torch.equal(value, whole.model.state_dict()[key]) for key, value in resumed.model.state_dict().items())


@pytest.mark.slow
def test_masks_of_a_collator_are_a_function_of_seed_and_epoch(tokenizer: Any, tmp_path: Path) -> None:
    """DataCollatorForLanguageModeling draws from torch's generator: the same masks for every reader, and after a resume."""
    data = Encoded(tokenizer)
    config = transformers.BertConfig(**SIZES, intermediate_size=32)
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.4)

    def train(updates: int, *plugins: Any, **more: Any) -> list[float]:
        torch.manual_seed(0)
        watch = Losses()
        model = transformers.BertForMaskedLM(config)
        Trainer(
            model,
            data,
            collate=collator,
            plugins=[SGD(lr=0.1), watch, *plugins],
            batch_size=5,
            updates=updates,
            seed=2,
            **more,
            **RUN,
        ).fit()
        return watch.seen

    plain = train(9)
    assert plain == train(9, Workers(count=1))
    train(6, out=tmp_path / "run")
    assert train(9, resume=str(tmp_path / "run")) == plain[6:]


@pytest.mark.slow
def test_parts_of_a_model_may_be_frozen(tokenizer: Any) -> None:
    make, data, collator = case("bert", tokenizer)
    torch.manual_seed(0)
    model = make()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    Trainer(model, data, collate=collator, plugins=[SGD(lr=0.1)], freeze=["bert.*"], updates=3, **RUN).fit()
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"classifier.weight", "classifier.bias"}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_activations_may_be_recomputed_by_either(name: str, tokenizer: Any) -> None:
    """transformers' own checkpoints, the plugin's, and both: the same losses as without."""
    make, data, collator = case(name, tokenizer)

    def losses(own: bool, *plugins: Any) -> list[float]:
        torch.manual_seed(0)
        model, watch = make(), Losses()
        if own:
            model.gradient_checkpointing_enable()
        Trainer(model, data, collate=collator, plugins=[SGD(lr=0.1), watch, *plugins], updates=3, **RUN).fit()
        return watch.seen

    plain = losses(False)
    for other in (losses(True), losses(False, Recompute()), losses(True, Recompute())):
        assert other == pytest.approx(plain, rel=1e-5), "the last bits are of the order in which shared weights add their gradients"


@pytest.mark.slow
def test_a_cache_of_keys_is_off_where_blocks_are_computed_again(tokenizer: Any) -> None:
    """A second pass would add its keys to those of the first; the model keeps them again when the run has ended."""
    make, data, collator = case("gpt2", tokenizer)
    model = make()
    assert model.config.use_cache
    Trainer(model, data, collate=collator, plugins=[Recompute()], updates=1, **RUN).fit()
    assert model.config.use_cache
    settings: dict[str, Any] = {"collate": collator, "plugins": [Recompute()], "updates": 1, **RUN}
    cached = Trainer(model, data, loss=lambda model, batch: model(**batch, use_cache=True), **settings)
    with pytest.raises(accel.ConfigError, match=r"GPT2Block is given a cache of keys, .* call the model with use_cache=False"):
        cached.fit()
