"""The model and the tokeniser that a task is asked for, whatever it names them by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from accel.errors import ConfigError
from accel.tasks.language import pretrained
from accel.tasks.language.pretrained import Kind
from accel.tasks.language.tokens import TextTokenizer

__all__ = ["SIZES", "TYPES", "ModelChoice", "choose_tokenizer"]

TYPES = {"causal": "gpt2", "masked": "bert", "classification": "bert", "seq2seq": "t5"}
"""Type of the model of each kind, if none is named."""
SIZES = {"layers": 4, "heads": 4, "width": 128}
"""Sizes of a model of a type, if none are named: those of the type itself are for large machines."""
SPARE_POSITIONS = 8
"""Positions beside the context that a fresh model has: some count theirs from behind that of padding."""


@dataclass(frozen=True)
class ModelChoice:
    """A model that a task names.

    Args:
        kind: what it is for.
        name: a folder, a config.json or a type; `auto` for the type of the kind.
        overrides: values for its configuration, by their names there.
        sizes: layers, heads and width; `auto` for those of the folder, or the small ones of a type.
    """

    kind: Kind
    name: str
    overrides: Mapping[str, Any]
    sizes: Mapping[str, Any]

    @property
    def source(self) -> str:
        """Its folder, file or type."""
        return TYPES[self.kind] if self.name == "auto" else self.name

    @property
    def is_local(self) -> bool:
        """Whether it is a folder or a file."""
        return Path(self.source).expanduser().exists()

    def config(self, tokenizer: TextTokenizer, context: int, classes: Sequence[str]) -> Any:
        """Return its configuration.

        Args:
            tokenizer: whose tokens it must know.
            context: tokens that it must take.
            classes: names of the classes that it tells apart; empty without any.

        Raises:
            ConfigError: if there is no such model, or it does not fit.
        """
        given = [name for name, size in self.sizes.items() if size != "auto"]
        if self.is_local and given:
            fix = "leave it out, or change what can be changed by task.overrides"
            raise ConfigError(f"task.{given[0]} is of a model that begins afresh by its type, and {self.source} has its own; {fix}")
        own: dict[str, Any] = {}
        if classes:
            own = {"id2label": dict(enumerate(classes)), "label2id": {name: number for number, name in enumerate(classes)}}
        if classes:
            own["pad_token_id"] = tokenizer.padding
        if self.kind == "seq2seq" and not self.is_local:
            own |= {"pad_token_id": tokenizer.padding, "decoder_start_token_id": tokenizer.padding}
        fresh = {} if self.is_local else self._fresh_values(tokenizer, context)
        config = pretrained.read_config("task.model", self.source, self.kind, fresh, own, self.overrides)
        self._check(config, tokenizer, context)
        if classes:
            self._check_classes(config, len(classes))
        return config

    def _fresh_values(self, tokenizer: TextTokenizer, context: int) -> dict[str, Any]:
        """Return values for the configuration of a type, by the names that transformers has for all of them."""
        layers, heads, width = (SIZES[name] if self.sizes[name] == "auto" else self.sizes[name] for name in SIZES)
        if width % heads:
            raise ConfigError(f"task.width must be a multiple of task.heads, and {width} is none of {heads}")
        values = {"vocab_size": tokenizer.size, "hidden_size": width, "intermediate_size": 4 * width, "d_ff": 4 * width}
        values |= dict.fromkeys(("num_hidden_layers", "num_decoder_layers", "encoder_layers", "decoder_layers"), layers)
        values |= dict.fromkeys(
            ("num_attention_heads", "num_key_value_heads", "encoder_attention_heads", "decoder_attention_heads"), heads
        )
        values |= {"head_dim": width // heads, "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width, "embedding_size": width}
        values |= {"max_position_embeddings": pretrained.AtLeast(context + SPARE_POSITIONS)}
        values |= {"bos_token_id": tokenizer.tokenizer.bos_token_id, "eos_token_id": tokenizer.end}
        values |= {"pad_token_id": pretrained.IfAny(tokenizer.padding or 0)}
        return values | ({"is_decoder": True} if self.kind == "causal" else {})

    def _check(self, config: Any, tokenizer: TextTokenizer, context: int) -> None:
        """Raise ConfigError for a model that does not know the tokens, or takes too few at once."""
        text = config.get_text_config()
        known, most = getattr(text, "vocab_size", None), getattr(text, "max_position_embeddings", None)
        if known is not None and known < tokenizer.size:
            raise ConfigError(
                f"the tokeniser has {tokenizer.size:,} tokens, and {self.source} knows {known:,}; take that of the model"
            )
        if isinstance(most, int) and 0 < most < context:
            raise ConfigError(f"task.context={context} is more than the {most} tokens that {self.source} takes at once; take less")

    def _check_classes(self, config: Any, count: int) -> None:
        """Raise ConfigError for overrides by which the model tells other classes apart than the text has, or has another loss."""
        if config.num_labels != count:
            raise ConfigError(f"task.overrides: the model has {config.num_labels} classes, and the text {count}; leave that out")
        if config.problem_type not in (None, "single_label_classification"):
            raise ConfigError(
                f"problem_type={config.problem_type} of the model wants other labels than a class of each text; write "
                "'task.overrides={problem_type: null}'"
            )

    def make(self, config: Any, fresh: bool = False) -> nn.Module:
        """Return the model of a configuration, with the weights of its folder unless `fresh`."""
        folder = self.source if not fresh and pretrained.has_weights(self.source) else None
        return pretrained.make_model(self.kind, config, folder)


def choose_tokenizer(
    name: str, model: ModelChoice, vocabulary: int, run: Path | None, texts: Callable[[], Sequence[str]]
) -> TextTokenizer:  # fmt: skip
    """Return the tokeniser of a run that is there, one that is named, that of a model's folder, or one that is trained on texts.

    Args:
        name: a folder or a tokenizer.json; `auto` for one of the others.
        model: the model.
        vocabulary: tokens of one that is trained, at most.
        run: the folder in which a run keeps its tokeniser; None to train.
        texts: returns the texts that one is trained on.

    Raises:
        ConfigError: if there is none, or it has no token that is needed.
    """
    folder = Path(model.source).expanduser()
    if run is not None:
        made, origin = pretrained.read_tokenizer("the run", run), "the run"
    elif name != "auto":
        made, origin = pretrained.read_tokenizer("task.tokenizer", Path(name).expanduser()), name
    elif folder.is_dir():
        made, origin = pretrained.read_tokenizer("task.model", folder), str(folder)
    else:
        made, origin = pretrained.trained_tokenizer(texts(), vocabulary), "this text"
    tokenizer = TextTokenizer(made, model.kind in ("causal", "seq2seq"))
    if model.kind == "masked" and tokenizer.mask is None:
        raise ConfigError(
            f"task.kind=masked needs a token for what is hidden, and the tokeniser of {origin} has none; take another"
        )
    if tokenizer.padding is None:
        raise ConfigError(
            f"the tokeniser of {origin} has no token for padding, nor for the end of a text; its tokenizer_config.json names them"
        )
    return tokenizer
