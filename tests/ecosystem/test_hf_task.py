"""task=hf: the losses and updates of transformers in a loop of one's own; rows padded, packed and masked; what is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="needs the extra ecosystem")

import transformers
from torch import Tensor
from torch.nn import functional as F

import accel
from accel.data.sampling import permutation, sample_rng
from accel.errors import AccelWarning, ConfigError
from accel.parts import Watch
from accel.plugins import SGD, Accumulate, AdamW, Prefetch, Threads, Workers
from accel.tasks.hf import Transformers
from accel.tasks.language.token_rows import IGNORED
from tests.support.small_texts import write_paragraphs, write_reviews

TINY: dict[str, Any] = {"layers": 1, "heads": 2, "width": 16, "vocabulary": 300, "context": 16}
QUIET: dict[str, Any] = {"watch": (), "device": "cpu"}
Make = Callable[..., Transformers]


class Losses(Watch):
    """Keeps the loss of each update."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after(self, step: int, loss: Tensor) -> None:
        self.seen.append(float(loss))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_reviews(folder / "reviews.csv")
    write_paragraphs(folder / "text.txt")
    (folder / "pairs.csv").write_text("text,label\n" + "".join(f"{word} a,a {word}\n" for word in ("cat", "dog", "tree") * 7))
    return folder


@pytest.fixture
def make(texts: Path) -> Make:
    def one(kind: str, **settings: Any) -> Transformers:
        name = {"classification": "reviews.csv", "seq2seq": "pairs.csv"}.get(kind, "text.txt")
        return Transformers(str(texts / name), kind, **{**TINY, **QUIET, **settings})  # type: ignore[arg-type]

    return one


KINDS = ["causal", "masked", "classification", "seq2seq"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_learns(make: Make, kind: str) -> None:
    first, last = (make(kind, plugins=[AdamW(lr=0.01)], batch_size=16, updates=updates).fit().metrics for updates in (1, 40))
    assert last["loss"] < 0.9 * first["loss"]
    if kind != "classification":
        assert last["perplexity"] == pytest.approx(exp(last["loss"]))
    assert ("accuracy" in last) == (kind in ("masked", "classification"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_updates_are_those_of_a_loop_of_ones_own(make: Make, kind: str) -> None:
    """To the bit: transformers' own model, loss and classes, torch's AdamW, batches by torch's operations."""
    losses = Losses()
    result = make(kind, plugins=[AdamW(lr=1e-3), losses], epochs=2, batch_size=7, seed=5).fit()
    task = make(kind)
    torch.manual_seed(5)
    classes = {"causal": "CausalLM", "masked": "MaskedLM", "classification": "SequenceClassification", "seq2seq": "Seq2SeqLM"}
    model = getattr(transformers, f"AutoModelFor{classes[kind]}").from_config(task.configuration, dtype=torch.float32)
    optim = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    data, padding, expected = task.data("train"), task.tokenizer.padding, []
    model.train()
    for epoch in range(2):
        for keys in permutation(len(data), 5, epoch).split(7):
            rows = [data.sample(key, sample_rng(5, epoch, key)) if kind == "masked" else data[key] for key in keys.tolist()]  # type: ignore[attr-defined]
            batch = by_hand(rows, padding, task.rows.context)
            if kind == "causal":
                del batch["attention_mask"]
            if kind in ("masked", "classification"):
                batch["attention_mask"] = batch["attention_mask"].bool()[:, None, None, :]
            optim.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            optim.step()
            expected.append(float(loss))
    assert losses.seen == expected
    actual = result.model.state_dict()
    assert all(torch.equal(actual[name], value) for name, value in model.state_dict().items())


def by_hand(rows: list[Any], padding: Any, context: int) -> dict[str, Tensor]:
    """Rows padded to the longest, to a multiple of eight."""

    def padded(values: list[Any], filler: int) -> Tensor:
        longest = max(map(len, values))
        width = max(longest, min(context, -(-longest // 8) * 8))
        return torch.stack([F.pad(torch.as_tensor(value), (0, width - len(value)), value=filler) for value in values])

    labels = [row["labels"] for row in rows]
    return {
        "input_ids": padded([row["input_ids"] for row in rows], padding),
        "attention_mask": padded([np.ones(len(row["input_ids"]), np.int64) for row in rows], 0),
        "labels": torch.tensor(labels) if isinstance(labels[0], int) else padded(labels, IGNORED),
    }


PACKED = [
    *((name, "causal") for name in ("gpt2", "llama", "qwen3", "gemma2", "roberta")),
    *((name, "masked") for name in ("bert", "roberta", "modernbert", "mpnet")),
]


@pytest.mark.parametrize(("name", "kind"), PACKED)
def test_a_packed_row_says_of_each_text_what_is_said_of_it_alone(make: Make, name: str, kind: str) -> None:
    task = make(kind, model=name, packed=True, context=48)
    model = task.model().eval()
    data = task.data("train")
    rows = [
        data[index] if kind == "causal" else data.sample(index, sample_rng(0, 0, index))
        for index in range(len(data) - 8, len(data))
    ]  # type: ignore[attr-defined]
    batch = task.collate(rows)
    assert sum(len(data.rows.read(index)) > 1 for index in range(len(data) - 8, len(data))) > 3, "several texts in a row"
    arguments = task.packed_form.packed(batch["input_ids"], batch["position_ids"])
    with torch.no_grad():
        packed = model(**arguments).logits
        for row, places in enumerate(batch["position_ids"]):
            starts = [*torch.nonzero(places == 0).flatten().tolist(), len(places)]
            for start, end in pairwise(starts):
                if int(batch["input_ids"][row, start]) == task.tokenizer.padding:
                    continue
                alone = model(input_ids=batch["input_ids"][row : row + 1, start:end]).logits[0]
                torch.testing.assert_close(packed[row, start:end], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_packed_rows_have_the_texts_of_padded_ones(make: Make, kind: str) -> None:
    packed, padded = make(kind, packed=True, context=48), make(kind, context=48)
    one, other = packed.data("train"), padded.data("train")
    assert len(one) < 0.8 * len(other)
    assert {tuple(chunk) for row in range(len(one)) for chunk in one.rows.read(row)} == {
        tuple(other.rows.read(row)[0]) for row in range(len(other))
    }
    assert one.rows.size == other.rows.size
    assert max(len(np.concatenate(one.rows.read(row))) for row in range(len(one))) <= 48
    assert not packed.data("val").packed, "an evaluation is the same either way, and an export of it is plain"
    assert "sequences, packed in" in one.plan_notes()["text"]
    assert one.fingerprint() != other.fingerprint()


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_a_packed_loss_is_the_mean_over_the_tokens_of_the_padded_one(make: Make, kind: str) -> None:
    """All rows of both, with the tokens that count as weights: the same mean."""
    means = []
    torch.manual_seed(0)
    model = make(kind).model().double().eval()
    for packed in (False, True):
        task = make(kind, packed=packed, context=48)
        task.model()
        data = task.data("train")
        if kind == "masked":  # with nothing hidden, only asked for, so that rows of both kinds are the same
            rows = [data.chunks(index) for index in range(len(data))]
            rows = [
                row | {"labels": np.where(np.isin(row["input_ids"], task.tokenizer.special), IGNORED, row["input_ids"])}
                for row in rows
            ]
        else:
            rows = [data[index] for index in range(len(data))]
        with torch.no_grad():
            loss, items = task.loss(model, task.collate(rows))
        means.append((float(loss), int(items)))
    assert means[0][1] == means[1][1]
    assert means[0][0] == pytest.approx(means[1][0], rel=1e-6)  # transformers' loss is in float32


def test_accumulated_tokens_weigh_as_in_the_hf_trainer(make: Make) -> None:
    """Its arithmetic: the sum over all tokens of the window, over their number (`num_items_in_batch`)."""
    torch.manual_seed(0)
    task = make("causal", overrides={"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0})
    start = task.model()
    data = task.data("train")
    batches = [task.collate([data[index] for index in keys]) for keys in ([0, 1], [2, 3, 4], [5])]
    losses = [start(input_ids=one["input_ids"], labels=one["labels"], num_items_in_batch=total(batches)).loss for one in batches]
    sum(losses).backward()  # type: ignore[union-attr]
    wanted = [param.grad.clone() for param in start.parameters() if param.grad is not None]
    mean = float(sum(losses))
    start.zero_grad()
    before = [param.detach().clone() for param in start.parameters()]
    run = accel.Trainer(start, batches, loss=task.loss, plugins=[SGD(lr=1.0, momentum=0.0), Accumulate(3)], epochs=1, **QUIET).fit()
    assert run.loss == pytest.approx(mean, rel=1e-5)
    for param, old, grad in zip(start.parameters(), before, wanted, strict=True):
        torch.testing.assert_close(old - param.detach(), grad, rtol=1e-4, atol=1e-6)


def total(batches: list[dict[str, Tensor]]) -> Tensor:
    return torch.stack([(batch["labels"][:, 1:] != IGNORED).sum() for batch in batches]).sum()


def test_hidden_tokens_are_drawn_as_the_paper_has_them(make: Make) -> None:
    task = make("masked", masking=0.3, context=64)
    data = task.data("train")
    hidden = np.zeros(4)
    for epoch in range(20):
        for index in range(len(data)):
            row = data.sample(index, sample_rng(0, epoch, index))  # type: ignore[attr-defined]
            truth = data.chunks(index)["input_ids"]
            chosen = row["labels"] != IGNORED
            assert np.array_equal(row["input_ids"][~chosen], truth[~chosen])
            assert np.array_equal(row["labels"][chosen], truth[chosen])
            assert not np.isin(truth[chosen], task.tokenizer.special).any()
            seen = row["input_ids"][chosen]
            masked = seen == task.tokenizer.mask
            hidden += [(~np.isin(truth, task.tokenizer.special)).sum(), chosen.sum(), masked.sum(), (seen == truth[chosen]).sum()]
    text, chosen_count, masked_count, kept = hidden
    assert chosen_count / text == pytest.approx(0.3, abs=0.01)
    assert masked_count / chosen_count == pytest.approx(0.8, abs=0.02)
    assert kept / chosen_count == pytest.approx(0.1, abs=0.015)


def test_hidden_tokens_are_a_function_of_seed_epoch_and_row(make: Make) -> None:
    data, held_out = make("masked").data("train"), make("masked").data("val")
    one = data.sample(3, sample_rng(1, 2, 3))["input_ids"]  # type: ignore[attr-defined]
    assert np.array_equal(one, data.sample(3, sample_rng(1, 2, 3))["input_ids"])  # type: ignore[attr-defined]
    others = [data.sample(3, sample_rng(seed, epoch, 3))["labels"] for seed, epoch in ((1, 3), (2, 2))]  # type: ignore[attr-defined]
    assert all(not np.array_equal(other, data.sample(3, sample_rng(1, 2, 3))["labels"]) for other in others)  # type: ignore[attr-defined]
    evaluated = [held_out.sample(0, sample_rng(seed, epoch, 0))["labels"] for seed, epoch in ((0, 0), (1, 3))]  # type: ignore[attr-defined]
    assert np.array_equal(*evaluated), "evaluations of runs of all seeds hide the same"


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_every_reader_gives_the_same_losses(make: Make, kind: str, packed: bool) -> None:
    def losses(*plugins: Any) -> list[float]:
        watch = Losses()
        make(kind, packed=packed, plugins=[SGD(lr=0.1), watch, *plugins], updates=4, batch_size=4).fit()
        return watch.seen

    plain = losses()
    assert plain == losses(Threads(count=2)) == losses(Workers(count=1)) == losses(Prefetch())


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "packed"), [("masked", True), ("causal", True), ("classification", False)])
def test_a_resumed_run_is_the_unbroken_one(make: Make, tmp_path: Path, kind: str, packed: bool) -> None:
    settings: dict[str, Any] = {"packed": packed, "batch_size": 4, "seed": 3}
    whole = make(kind, plugins=[AdamW(lr=1e-3)], updates=9, **settings).fit()
    make(kind, plugins=[AdamW(lr=1e-3)], updates=5, out=tmp_path / "run", **settings).fit()
    resumed = make(kind, plugins=[AdamW(lr=1e-3)], updates=9, resume=str(tmp_path / "run"), **settings).fit()
    assert resumed.loss == whole.loss
    assert resumed.metrics == whole.metrics
    assert all(torch.equal(value, whole.model.state_dict()[name]) for name, value in resumed.model.state_dict().items())


def test_other_text_is_another_run(make: Make, texts: Path, tmp_path: Path) -> None:
    make("causal", updates=2, out=tmp_path / "run").fit()
    other = write_paragraphs(tmp_path / "other.txt", seed=1)
    with pytest.raises(ConfigError, match=r"data\.train|task\.tokenizer"):
        Transformers(str(other), "causal", **TINY, **QUIET, updates=3, resume=str(tmp_path / "run")).fit()


@pytest.fixture(scope="module")
def folder(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 and its tokeniser as save_pretrained writes them."""
    place = tmp_path_factory.mktemp("pretrained") / "gpt2"
    task = Transformers(str(texts / "text.txt"), "causal", **TINY, **QUIET)
    model: Any = task.model()
    model.save_pretrained(place)
    task.tokenizer.tokenizer.save_pretrained(place)
    return place


def test_a_folder_is_begun_with(make: Make, folder: Path) -> None:
    settings = dict.fromkeys(("layers", "heads", "width"), "auto")
    task = make("causal", model=str(folder), **settings)
    saved = transformers.AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in task.model().state_dict().items())
    fresh = make("causal", model=str(folder / "config.json"), **settings)
    assert any(not torch.equal(value, saved[name]) for name, value in fresh.model().state_dict().items()), "its config.json alone"
    with pytest.warns(AccelWarning, match=r"has no weights for score\.weight, which begin afresh"):
        head = make("classification", model=str(folder), **settings).model()
    assert torch.equal(head.state_dict()["transformer.wte.weight"], saved["transformer.wte.weight"])
    changed = make("causal", model=str(folder), overrides={"resid_pdrop": 0.5}, **settings)
    assert changed.configuration.resid_pdrop == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_loaded_without_its_text(make: Make, texts: Path, tmp_path: Path, kind: str) -> None:
    """Its directory has the configuration and the tokeniser; what it says of files, and its metrics, are those of the run."""
    run = tmp_path / "run"
    result = make(kind, updates=3, out=run).fit()
    loaded = accel.load(run)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in result.model.state_dict().items())
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "pretrained")
    assert tokenizer("the cat")["input_ids"] == make(kind).tokenizer.wrapped(make(kind).tokenizer.encode("the cat")).tolist()
    assert type(transformers.AutoConfig.from_pretrained(run / "pretrained")).__name__ == type(result.model.config).__name__  # type: ignore[union-attr]


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "a name of the Hub": ("causal", {"model": "some-body/gpt"}, "hf download some-body/gpt --local-dir gpt, and name task.model"),
    "no folder": ("causal", {"model": "./gpt"}, "task.model=./gpt is no folder, no config.json and no type of model"),
    "an old name of the Hub": ("masked", {"model": "bert-base-uncased"}, "fetch it once by hf download bert-base-uncased"),
    "a mistyped type": ("masked", {"model": "robreta"}, "no config.json and no type of model; did you mean 'roberta'"),
    "a type of another kind": ("seq2seq", {"model": "bert"}, "transformers has no bert for task.kind=seq2seq"),
    "no override": ("causal", {"overrides": {"resid_drop": 0.1}}, "gpt2 has no 'resid_drop'; did you mean 'resid_pdrop'"),
    "an override of another kind": ("causal", {"overrides": {"n_layer": "x"}}, "gpt2 cannot be made so, see task.overrides"),
    "heads": ("causal", {"heads": 3}, "task.width must be a multiple of task.heads, and 16 is none of 3"),
    "packed classes": ("classification", {"packed": True}, "task.packed is for kind causal and masked"),
    "looks ahead": ("causal", {"model": "xlnet"}, "task.kind=causal: XLNetLMHeadModel looks ahead|xlnet cannot be made so"),
    "cannot be packed": ("masked", {"model": "fnet", "packed": True}, "task.packed: FNetForMaskedLM takes no mask that keeps"),
    "a convolution": ("masked", {"model": "convbert", "packed": True}, "task.packed: ConvBertForMaskedLM takes no mask that keeps"),
    "a folder without a tokeniser": ("causal", {"tokenizer": "."}, "there is no tokenizer.json in that folder"),
    "no tokeniser": ("causal", {"tokenizer": "none.json"}, "task.tokenizer=none.json: there is no such file"),
    "other classes": ("classification", {"overrides": {"num_labels": 1}}, "the model has 1 classes, and the text 2; leave"),
    "another loss": ("classification", {"overrides": {"problem_type": "regression"}}, "problem_type=regression of the model"),
    "a small vocabulary": ("causal", {"vocabulary": 100}, "task.vocabulary must be a whole number from 260, not 100"),
    "a short context": ("causal", {"context": 4}, "task.context must be a whole number from 8"),
    "another kind": ("casual", {}, "task.kind must be causal or masked or classification or seq2seq, not 'casual'"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "settings", "sentence"), WRONG.values(), ids=WRONG)
def test_what_cannot_work_is_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, settings: dict[str, Any], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=sentence):
        make(kind, **settings).model()


def test_sizes_are_of_a_model_that_begins_afresh(make: Make, folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"task\.layers is of a model that begins afresh by its type, and .* has its own; leave it out"
    ):
        make("causal", model=str(folder)).model()
    with pytest.raises(ConfigError, match=r"task\.context=4096 is more than the 1024 tokens that .* takes at once; take less"):
        make("causal", model=str(folder), context=4096, **dict.fromkeys(("layers", "heads", "width"), "auto")).model()


def test_a_label_that_is_unknown_is_refused(make: Make, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("text,label\na cat,god\n")
    with pytest.raises(ConfigError, match="the label 'god' is no class of the text to train on; did you mean 'good'"):
        make("classification", held_out=str(other)).data("val")


def test_the_tokeniser_is_trained_the_same_way_each_time(make: Make, texts: Path) -> None:
    one, other = make("causal").tokenizer, make("masked").tokenizer
    assert one.digest() == other.digest()
    held_out = make("causal").texts["val"].texts
    assert one.decode(one.encode(held_out[0]).tolist()) == held_out[0]
    assert [int(one.prefix[0]), int(one.suffix[0])] == [0, 2]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "dynamic"), [("causal", "length"), ("seq2seq", "batch")])
def test_an_export_has_no_cache_of_keys(make: Make, tmp_path: Path, kind: str, dynamic: str) -> None:
    task = make(kind, out=str(tmp_path / "run"), updates=1, batch_size=16)
    task.fit()
    assert accel.export(task, "pt2", dynamic=dynamic, seconds=0)["pt2"].status == "holds"
    assert task.configuration.use_cache, "the configuration stays as it is"
