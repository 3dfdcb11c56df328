"""Task of text with a model of the package transformers, from local files alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from math import exp, inf
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from accel.errors import BadSample, ConfigError, nearest
from accel.tasks.language import attention, pretrained
from accel.tasks.language.documents import Documents, read_splits
from accel.tasks.language.make_rows import RowSettings, class_names, make_rows
from accel.tasks.language.model_choice import ModelChoice, choose_tokenizer
from accel.tasks.language.padding import pad_rows
from accel.tasks.language.predictions import continuations, fillings, translations
from accel.tasks.language.token_metrics import class_metrics, counted_labels, token_metrics
from accel.tasks.language.token_rows import Sample, TokenRows
from accel.tasks.language.tokens import TextTokenizer
from accel.tasks.validate import validate
from accel.trainer import Trainer
from accel.values import Bounds, Count, Share

__all__ = ["FOLDER", "Transformers"]

FOLDER = "pretrained"
"""Folder of a run directory with the configuration and the tokeniser, as transformers keeps them."""


class Transformers(Trainer):
    """Training of a model of transformers on local text: language models, classes of texts, texts for texts.

    The loss is that of the model: a mean over the tokens that count, or over the texts for classes. Nothing is downloaded.

    Args:
        path: a text file; a .jsonl, .csv or .tsv with a text in each row; or a folder that `save_to_disk` of datasets wrote.
        kind: causal: predict each token from those before it; masked: hidden tokens from all others; classification: the label
            of each text; seq2seq: write the text in `label` for that in `text`.
        model: a folder that `save_pretrained` wrote, to begin with its weights; a config.json, or a type of model such as gpt2,
            bert, llama or t5, to begin afresh; auto: gpt2, bert, or t5 for seq2seq.
        overrides: other values for the model's configuration, by the names that they have there.
        layers: of a model that begins afresh by its type; auto: 4.
        heads: attention heads of each layer; auto: 4.
        width: channels between the layers; auto: 128.
        tokenizer: a folder or a tokenizer.json; auto: that of the model's folder, else one that is trained on the text.
        vocabulary: tokens of one that is trained, at most.
        context: tokens of a row, at most. A longer text goes on in another row, or is cut off for classes and for seq2seq.
        documents: what is one text in a text file: a paragraph, between empty lines; a line; or the whole file.
        text: the field of a table with the texts.
        label: the field with the labels, or with the texts to write.
        held_out: the same as path, to evaluate on; null holds out a tenth, or takes the split validation or test of a folder.
        masking: share of the tokens that masked hides.
        packed: whether rows hold as many texts as fit, each seen by itself alone; else they are padded.
        run: settings of the run, as in `Trainer`.

    Raises:
        ConfigError: If a setting does not fit, a package is missing, or a file cannot be read.
    """

    aside = ("path", "held_out")

    def __init__(
        self,
        path: str,
        kind: Literal["causal", "masked", "classification", "seq2seq"] = "causal",
        model: str = "auto",
        overrides: dict[str, Any] | None = None,
        layers: Count | Literal["auto"] = "auto",
        heads: Count | Literal["auto"] = "auto",
        width: Count | Literal["auto"] = "auto",
        tokenizer: str = "auto",
        vocabulary: Annotated[int, Bounds("a whole number from 260", low=260)] = 8192,
        context: Annotated[int, Bounds("a whole number from 8", low=8)] = 128,
        documents: Literal["paragraph", "line", "file"] = "paragraph",
        text: str = "text",
        label: str = "label",
        held_out: str | None = None,
        masking: Share = 0.15,
        packed: bool = False,
        **run: Any,
    ) -> None:
        super().__init__(**run)
        path, model, tokenizer = (str(one) if isinstance(one, Path) else one for one in (path, model, tokenizer))
        held_out = str(held_out) if isinstance(held_out, Path) else held_out
        validate(
            Transformers, path=path, kind=kind, model=model, overrides=overrides, layers=layers, heads=heads, width=width,
            tokenizer=tokenizer, vocabulary=vocabulary, context=context, documents=documents, text=text, label=label,
            held_out=held_out, masking=masking, packed=packed,
        )  # fmt: skip
        if packed and kind not in ("causal", "masked"):
            raise ConfigError(f"task.packed is for kind causal and masked, and kind={kind} has a text in each row; leave it out")
        self.path, self.held_out = Path(path).expanduser(), None if held_out is None else Path(held_out).expanduser()
        sizes = {"layers": layers, "heads": heads, "width": width}
        self.kind, self.choice = kind, ModelChoice(kind, model, dict(overrides or {}), sizes)
        self.tokenizer_name, self.vocabulary = tokenizer, vocabulary
        self.unit, self.fields = documents, (text, label if kind in ("classification", "seq2seq") else None)
        self.rows = RowSettings(kind, context, masking, packed)
        self.packed_form, self.padded_form = attention.PLAIN, attention.AttentionForm(causal=kind == "causal")
        pretrained.transformers()  # before anything is read

    @cached_property
    def texts(self) -> dict[str, Documents]:
        """The documents, `train` and `val`."""
        return read_splits(self.path, self.held_out, self.unit, *self.fields)

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The tokeniser."""
        run = None if self.record_folder is None else self.record_folder / FOLDER
        tokenizer = choose_tokenizer(self.tokenizer_name, self.choice, self.vocabulary, run, lambda: self.texts["train"].texts)
        if tokenizer.room >= self.rows.context // 2:
            raise ConfigError(
                f"task.context={self.rows.context} leaves no room for text, with {tokenizer.room} tokens around each; take more"
            )
        return tokenizer

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the scores; none without them."""
        if self.kind != "classification":
            return []
        if self.record_folder is not None:
            names = self.configuration.id2label
            return [names[number] for number in range(len(names))]
        return class_names(self.texts["train"].labels or [])

    @cached_property
    def configuration(self) -> Any:
        """The configuration of the model, of transformers."""
        if self.record_folder is not None:
            return pretrained.read_config("the run", str(self.record_folder / FOLDER), self.rows.kind, {}, {}, {})
        return self.choice.config(self.tokenizer, self.rows.context, self.classes)

    def model(self) -> nn.Module:
        loaded, context, causal = self.record_folder is not None, self.rows.context, self.kind == "causal"
        model = self.choice.make(self.configuration, fresh=loaded)
        if not loaded and self.kind != "seq2seq":
            row, places = torch.from_numpy(self.tokenizer.ordinary(context)), (self.tokenizer.padding or 0) + 1
            with pretrained.quiet():
                if causal:
                    attention.check_causal(model, row)
                else:
                    self.padded_form = attention.padded_form(model, row)
                if self.rows.packed:
                    self.packed_form = attention.packed_form(model, row, causal, places)  # RoBERTa's begin behind its padding's
        return model

    def data(self, split: str) -> TokenRows:
        if split not in ("train", "val"):
            raise ConfigError(f"the text has no split {split}{nearest(split, ['val']) or '; there is val'}")
        return make_rows(self.texts[split], self.tokenizer, self.rows, self.classes, split == "train")

    def calibration_data(self) -> TokenRows:
        """Return the text to train on as evaluation shows it: nothing is packed, and the same tokens are hidden each time."""
        return make_rows(self.texts["train"], self.tokenizer, self.rows, self.classes, train=False)

    def collate(self, samples: list[Sample]) -> dict[str, Tensor]:
        """Return rows as a batch, padded to the longest of them (`accel.tasks.language.padding`)."""
        return pad_rows(samples, self.tokenizer.padding or 0, self.rows.context)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Any:
        labels, tokens = batch["labels"], batch["input_ids"]
        if "position_ids" in batch:
            arguments = self.packed_form.packed(tokens, batch["position_ids"])
        else:
            arguments = self.padded_form.padded(tokens, batch["attention_mask"])
        output = model(**arguments, labels=labels)
        return (output.loss, counted_labels(labels, self.rows.kind).sum()) if labels.dim() > 1 else output.loss

    def logits_of(self, outputs: Any, batch: Mapping[str, Tensor]) -> Any:
        """Return the logits of one call of the model, and which of them count."""
        logits, labels = getattr(outputs, "logits", None), batch["labels"]
        return logits if logits is None or labels.dim() == 1 else (logits, counted_labels(labels, self.rows.kind))

    def metrics(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Any:
        labels, kind = batch["labels"], self.rows.kind
        if kind == "seq2seq":
            output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels)
            return {"loss": output.loss}, counted_labels(labels, kind).sum()
        logits = self.logits(model, batch)
        return class_metrics(logits, labels) if kind == "classification" else token_metrics(logits, labels, kind)

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Return what a model says of rows, as it is evaluated and exported: (batch, length, tokens), or (batch, classes)."""
        names = ["input_ids"] if self.kind == "causal" else ["input_ids", "attention_mask"]
        logits: Tensor = model(**{name: batch[name] for name in names}).logits
        return logits

    def evaluated(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return the perplexity, by the loss over all tokens."""
        return {} if self.kind == "classification" else {"perplexity": exp(metrics["loss"]) if metrics["loss"] < 700 else inf}

    def identity(self) -> dict[str, Any]:
        """Return the arguments with what model and tokeniser are in place of where they lie."""
        values = self.configuration.to_diff_dict()
        plain = sorted(
            (name, repr(value)) for name, value in values.items() if name not in ("transformers_version", "_name_or_path")
        )
        return super().identity() | {"model": sha256(repr(plain).encode()).hexdigest()[:16], "tokenizer": self.tokenizer.digest()}

    def record_files(self) -> dict[str, str]:
        """Return the configuration and the tokeniser as transformers keeps them."""
        files = pretrained.saved_files(self.configuration, self.tokenizer.tokenizer)
        return {f"{FOLDER}/{name}": text for name, text in files.items()}

    def sample_of(self, path: str) -> Sample:
        """Return the text of a file as tokens: for a causal model the last that it looks back on, else the first that it takes.

        Raises:
            BadSample: if the file is no text, or an empty one.
        """
        try:
            tokens = self.tokenizer.encode(Path(path).read_bytes().decode("utf-8-sig").strip("\r\n"))
        except UnicodeDecodeError:
            raise BadSample(f"{path} is no text in UTF-8") from None
        if not len(tokens):
            raise BadSample(f"{path} is empty; there is nothing to say of it")
        context = self.rows.context
        if self.kind == "causal":
            return {"input_ids": tokens[-context:]}
        return {"input_ids": self.tokenizer.wrapped(tokens[: context - self.tokenizer.room])}

    def predict(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Any:
        """Return how each text goes on, what is hidden in it, or what is written for it; the scores of the classes."""
        if self.kind == "causal":
            texts = continuations(lambda rows: self.logits(model, rows), dict(batch), self.tokenizer, self.rows.context)
            return [{"continuation": text} for text in texts]
        if self.kind == "seq2seq":
            begin = self.configuration.decoder_start_token_id
            return [{"written": text} for text in translations(model, dict(batch), self.tokenizer, begin)]
        logits = self.logits(model, batch)
        if self.kind == "classification":
            return logits
        return [{"hidden": " | ".join(words)} for words in fillings(logits, batch["input_ids"], self.tokenizer)]
