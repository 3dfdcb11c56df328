"""Models, configurations and tokenisers of the package transformers, made of local files alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import nn

from accel.errors import ConfigError, listed, nearest
from accel.system.call_stack import warn_user
from accel.tasks.language.bpe import SPECIAL, train_bpe

__all__ = [
    "AtLeast",
    "IfAny",
    "Kind",
    "has_weights",
    "make_model",
    "read_config",
    "read_tokenizer",
    "saved_files",
    "trained_tokenizer",
    "transformers",
]

Kind = Literal["causal", "masked", "classification", "seq2seq"]
AUTO_CLASSES = {
    "causal": "AutoModelForCausalLM", "masked": "AutoModelForMaskedLM", "classification": "AutoModelForSequenceClassification",
    "seq2seq": "AutoModelForSeq2SeqLM",
}  # fmt: skip
"""Classes of transformers that make the model of a kind."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+|[\w.]+(-[\w.]+)+")


def transformers() -> Any:
    """Return the module of that name. Raise ConfigError if it is not installed."""
    try:
        import transformers as module
    except ModuleNotFoundError as error:
        raise ConfigError(f"task=hf needs {error.name}, which is not installed: pip install 'accel-train[hf]'") from None
    return module


@contextmanager
def quiet() -> Iterator[None]:
    """Let transformers say nothing: what matters is said here."""
    logging = transformers().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


class AtLeast(int):
    """A number that a configuration has at least: what it has by itself may be larger."""


class IfAny(int):
    """A number that takes the place of one that a configuration has by itself, and of none where it has None."""


def read_config(
    setting: str, name: str, kind: Kind, fresh: Mapping[str, Any], own: Mapping[str, Any], overrides: Mapping[str, Any]
) -> Any:  # fmt: skip
    """Return the configuration of a model.

    Args:
        setting: that names it, for messages.
        name: a folder that `save_pretrained` wrote, the config.json of one, or a type of model such as gpt2.
        kind: what the model is for.
        fresh: values for a type, which has others of its own; those that it does not know are left out.
        own: values for any, whether it knows them or not.
        overrides: values for any, all of which it must know.

    Raises:
        ConfigError: if there is none of that name, it is of another kind, or a value does not fit.
    """
    path = Path(name).expanduser()
    with quiet():
        if path.exists():
            base, make = _config_of_file(f"{setting}={name}", path), None
        else:
            types = transformers().models.auto.configuration_auto.CONFIG_MAPPING
            _check_type(setting, name, kind, types)
            base, make = types[name](), types[name]
        names = base.attribute_map
        if odd := [key for key in overrides if key not in names and not hasattr(base, key)]:
            known = [key for key in {**vars(base), **names} if not key.startswith("_")]
            raise ConfigError(f"task.overrides: {name} has no {odd[0]!r}{nearest(odd[0], known)}")
        values = _known_values(base, fresh)
        values |= {**own, **{names.get(key, key): value for key, value in overrides.items()}}
        try:
            if make is not None:
                return make(**values)
            for key, value in values.items():
                setattr(base, key, value)
            return base
        except Exception as error:  # of its own checks
            raise ConfigError(f"{setting}={name} cannot be made so, see task.overrides: {_reason(error)}") from None


def _known_values(config: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values that a configuration knows, by the names that they have there."""
    known: dict[str, Any] = {}
    for key, value in values.items():
        key = config.attribute_map.get(key, key)
        own: Any = getattr(config, key, IfAny)
        computed = isinstance(getattr(type(config), key, None), property)
        if own is IfAny or computed or (own is None and isinstance(value, IfAny)):
            continue
        known[key] = max(int(value), own or 0) if isinstance(value, AtLeast) else value
    return known


def _config_of_file(origin: str, path: Path) -> Any:
    """Return the configuration in a folder or file. Raise ConfigError if there is none."""
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"{origin} has no config.json; name a folder that save_pretrained wrote")
    try:
        return transformers().AutoConfig.from_pretrained(
            str(file.parent if path.is_dir() else file), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise ConfigError(f"{origin} holds no configuration that transformers knows: {_reason(error)}") from None


def _check_type(setting: str, name: str, kind: Kind, types: Any) -> None:
    """Raise ConfigError for what is no type of model, or none of a kind."""
    if name not in types:
        hint = nearest(name, list(types))
        if not hint and HUB_NAME.fullmatch(name):
            folder = name.rpartition("/")[2]
            raise ConfigError(
                f"{setting}={name}: there is no such folder, and nothing is downloaded here; fetch it once by "
                f"hf download {name} --local-dir {folder}, and name {setting}={folder}"
            )
        raise ConfigError(
            f"{setting}={name} is no folder, no config.json and no type of model{hint or ', such as gpt2, bert or t5'}"
        )
    if types[name] not in getattr(transformers(), AUTO_CLASSES[kind])._model_mapping:
        raise ConfigError(f"{setting}={name}: transformers has no {name} for task.kind={kind}; take another model, or another kind")


def has_weights(name: str) -> bool:
    """Return whether a model's name is that of a folder with weights."""
    path = Path(name).expanduser()
    return path.is_dir() and any((path / file).is_file() for file in WEIGHTS)


def make_model(kind: Kind, config: Any, folder: str | None) -> nn.Module:
    """Return a model in float32, with the weights of a folder, or fresh ones.

    Weights that the folder does not have, such as those of a head for new classes, are fresh.

    Raises:
        ConfigError: if the configuration is of no model of that kind, or the weights do not fit.
    """
    maker = getattr(transformers(), AUTO_CLASSES[kind])
    with quiet():
        try:
            if folder is None:
                return _with_loss(maker.from_config(config, trust_remote_code=False, dtype=torch.float32), kind)
            made, info = maker.from_pretrained(
                folder, config=config, local_files_only=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:
            origin = "task.model and task.overrides make no model" if folder is None else f"task.model={folder} cannot be loaded"
            raise ConfigError(f"{origin} for task.kind={kind}: {_reason(error)}") from None
    if info["missing_keys"]:
        warn_user(f"task.model={folder} has no weights for {listed(sorted(info['missing_keys']), 4)}, which begin afresh")
    return _with_loss(made, kind)


def _with_loss(model: nn.Module, kind: Kind) -> nn.Module:
    """Return a causal model whose class does not say what its loss is with the one that it takes anyway, and would warn of."""
    if kind == "causal" and getattr(model, "loss_type", "") is None:
        model.loss_type = "ForCausalLM"  # type: ignore[assignment]
    return model


def read_tokenizer(setting: str, path: Path) -> Any:
    """Return the fast tokeniser of a folder, or of a tokenizer.json.

    Raises:
        ConfigError: if there is none, it is a slow one, or it does not say what its special tokens are.
    """
    origin = f"{setting}={path}"
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        lacking = "tokenizer.json in that folder" if path.is_dir() else "such file"
        raise ConfigError(f"{origin}: there is no {lacking}; task.tokenizer=DIR names a folder with one")
    with quiet():
        fast = transformers().PreTrainedTokenizerFast
        try:
            if (file.parent / "tokenizer_config.json").is_file():
                return fast.from_pretrained(str(file.parent), local_files_only=True)
            return fast(tokenizer_file=str(file), **_usual_tokens(file))
        except Exception as error:
            raise ConfigError(f"{origin} is no tokeniser that transformers can read: {_reason(error)}") from None


def trained_tokenizer(texts: Any, size: int) -> Any:
    """Return a tokeniser that is trained on texts, of at most `size` tokens."""
    return transformers().PreTrainedTokenizerFast(tokenizer_object=train_bpe(texts, size), **SPECIAL)


def saved_files(config: Any, tokenizer: Any) -> dict[str, str]:
    """Return the texts of the files in which transformers keeps a configuration and a tokeniser, by name."""
    with quiet(), TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {file.name: file.read_text(encoding="utf-8") for file in sorted(Path(folder).iterdir())}


USUAL = {
    "pad_token": ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>"), "mask_token": ("[MASK]", "<mask>"),
    "eos_token": ("</s>", "[SEP]", "<|endoftext|>", "<eos>"), "bos_token": ("<s>", "[CLS]", "<|endoftext|>", "<bos>"),
    "cls_token": ("[CLS]",), "sep_token": ("[SEP]",), "unk_token": ("[UNK]", "<unk>"),
}  # fmt: skip
"""What special tokens are usually called, of a tokenizer.json that stands alone."""


def _usual_tokens(file: Path) -> dict[str, str]:
    """Return the special tokens of a tokenizer.json by what they are for."""
    text = file.read_text(encoding="utf-8")
    return {role: name for role, names in USUAL.items() if (name := next((name for name in names if f'"{name}"' in text), None))}


def _reason(error: Exception) -> str:
    """Return the text of an error in one line, without the end of a long one."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
