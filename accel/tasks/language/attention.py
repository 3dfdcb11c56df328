"""Which tokens see which, where rows are packed or padded: told to a model in a form that it is seen to heed.

Models take it in several forms, and one that is not understood is not refused but ignored, or added to the scores. So each form
is tried on the model itself, before a run. What it says of a sequence in a packed row must be what it says of it alone, and must
not change by a bit where another sequence changes: fresh weights look around so evenly that a leak is small.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import NamedTuple

import torch
from torch import Tensor, nn

from accel.device.out_of_memory import is_out_of_memory
from accel.errors import ConfigError

__all__ = ["PLAIN", "AttentionForm", "check_causal", "packed_form", "padded_form"]

FIRST = 3
"""Tokens of the first sequence in the trial row; the second fills the context, so that a window of attention shows."""
CLOSE = 1e-3
"""Largest difference of what is computed in another shape, over the largest number. Another place makes a larger one."""


class AttentionForm(NamedTuple):
    """How a model is told which tokens see which."""

    mask: str = ""
    """`bool`: (batch, 1, queries or 1, keys) bool. `additive`: the same as float, 0 or the lowest number. Empty: none of it."""
    positions: bool = False
    """Whether it is told each token's place in its sequence."""
    offset: int = 0
    """What its places begin with."""
    causal: bool = False
    """Whether a token sees those before it alone."""

    def packed(self, inputs: Tensor, places: Tensor, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Return arguments of a model for packed rows.

        Args:
            inputs: tokens, (batch, length) int64.
            places: of each token in its sequence, (batch, length) int64; a 0 begins one.
            dtype: of the model's weights.
        """
        arguments = {"input_ids": inputs}
        if self.positions:
            arguments["position_ids"] = places + self.offset if self.offset else places
        if self.mask:
            sequence = (places == 0).cumsum(1)
            seen = sequence[:, None, :, None] == sequence[:, None, None, :]
            if self.causal:
                order = torch.arange(inputs.shape[1], device=inputs.device)
                seen &= order[:, None] >= order
            arguments["attention_mask"] = self._as_mask(seen, dtype)
        return arguments

    def padded(self, inputs: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        """Return arguments of a model for padded rows.

        Args:
            inputs: tokens, (batch, length) int64.
            tokens: 1 for a token and 0 for padding, (batch, length) int64.
        """
        if self.causal:
            return {"input_ids": inputs}  # padding stands behind every token that counts, and nothing looks ahead
        return {"input_ids": inputs, "attention_mask": (tokens != 0)[:, None, None, :] if self.mask else tokens}

    def _as_mask(self, seen: Tensor, dtype: torch.dtype) -> Tensor:
        if self.mask == "bool":
            return seen
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


PLAIN = AttentionForm()
"""The form that every model takes: padding alone is told."""


def packed_form(model: nn.Module, row: Tensor, causal: bool, offset: int) -> AttentionForm:
    """Return the form in which a model keeps the sequences of a packed row apart.

    Args:
        model: a model of transformers.
        row: tokens of a text, as many as a row has, (context,) int64, none of them special.
        causal: whether it predicts each token from those before it.
        offset: what the places of its tokens may begin with, beside 0.

    Raises:
        ConfigError: if it heeds none, or takes no row of so many tokens.
    """
    takes_places = "position_ids" in signature(model.forward).parameters
    forms = [
        AttentionForm(mask, places, start, causal)
        for mask in ("bool", "additive", "")
        for places in ([True, False] if takes_places else [False])
        for start in (dict.fromkeys((0, offset)) if places else (0,))
        if mask or places
    ]
    with trial(model):
        inputs = _on_device(row, model)
        places = torch.cat([torch.arange(FIRST), torch.arange(len(row) - FIRST)])[None].to(inputs.device)
        alone = torch.cat([_states(model, {"input_ids": part}) for part in (inputs[:, :FIRST], inputs[:, FIRST:])], 1)
        for form in forms:
            if _keeps_apart(model, inputs, places, form, alone):
                return form
    raise ConfigError(
        f"task.packed: {type(model).__name__} takes no mask that keeps the sequences of a row apart; leave it out (rows are padded "
        "then), or take another model, such as gpt2, llama or bert"
    )


def _keeps_apart(model: nn.Module, inputs: Tensor, places: Tensor, form: AttentionForm, alone: Tensor) -> bool:
    """Return whether a model says of each of two sequences in a row what it says of it alone, whatever the other one is."""
    other_first, other_second = inputs.clone(), inputs.clone()
    other_first[:, 0], other_second[:, FIRST] = inputs[:, -1], inputs[:, 1]
    rows = (inputs, other_first, other_second)
    states = [_states_if_taken(model, form.packed(one, places, alone.dtype)) for one in rows]
    packed, beside_other, before_other = states
    if packed is None or beside_other is None or before_other is None or not _is_close(packed, alone):
        return False
    return torch.equal(packed[:, FIRST:], beside_other[:, FIRST:]) and torch.equal(packed[:, :FIRST], before_other[:, :FIRST])


def padded_form(model: nn.Module, row: Tensor) -> AttentionForm:
    """Return the form in which a model that sees all tokens leaves out padding: a mask ready made, where it takes one.

    transformers makes its own of (batch, length), and reads on the host whether there is any padding, which waits for the device.

    Args:
        model: a model of transformers.
        row: as of `packed_form`.
    """
    if getattr(getattr(model, "config", None), "_attn_implementation", "") != "sdpa":
        return PLAIN
    form, end = AttentionForm("bool"), FIRST
    with trial(model):
        inputs = _on_device(row[: 2 * FIRST], model)
        is_token = torch.ones_like(inputs)
        is_token[:, end:] = 0
        other = inputs.clone()
        other[:, end:] = inputs[:, :1]
        expected = _states_if_taken(model, PLAIN.padded(inputs, is_token))
        states, beside_other = (_states_if_taken(model, form.padded(one, is_token)) for one in (inputs, other))
    if expected is None or states is None or beside_other is None:
        return PLAIN
    kept = torch.equal(states[:, :end], beside_other[:, :end])
    return form if kept and _is_close(states[:, :end], expected[:, :end]) else PLAIN


def check_causal(model: nn.Module, row: Tensor) -> None:
    """Raise ConfigError for a model that sees the tokens which it is to predict. `row` is as of `packed_form`."""
    with trial(model):
        inputs = _on_device(row[: 2 * FIRST], model)
        other = inputs.clone()
        other[:, FIRST:] = inputs[:, :1]
        states, moved = _states(model, {"input_ids": inputs}), _states(model, {"input_ids": other})
    if not _is_close(states[:, :FIRST], moved[:, :FIRST], CLOSE / 100):
        raise ConfigError(
            f"task.kind=causal: {type(model).__name__} looks ahead at the tokens that it is to predict; take a model such as gpt2 "
            "or llama, or task.kind=masked"
        )


@contextmanager
def trial(model: nn.Module) -> Iterator[None]:
    """Let a model be called in evaluation mode, without gradients; it is afterwards in the mode in which it was."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _on_device(row: Tensor, model: nn.Module) -> Tensor:
    """Return a row as a batch, (1, length), on the device of a model."""
    return row[None].to(next(model.parameters()).device)


def _states(model: nn.Module, arguments: dict[str, Tensor]) -> Tensor:
    """Return what the last layer of a model holds, (batch, length, width). Raise ConfigError if it cannot be called so."""
    try:
        states: Tensor = model(**arguments, output_hidden_states=True).hidden_states[-1]
    except Exception as error:
        if is_out_of_memory(error):
            raise
        length, reason = arguments["input_ids"].shape[1], " ".join(str(error).split())[:200]
        raise ConfigError(f"{type(model).__name__} cannot be called with a row of {length} tokens: {reason}") from error
    return states


def _states_if_taken(model: nn.Module, arguments: dict[str, Tensor]) -> Tensor | None:
    """Return the same; None if the model does not take such arguments."""
    try:
        return _states(model, arguments)
    except ConfigError:
        return None


def _is_close(one: Tensor, other: Tensor, share: float = CLOSE) -> bool:
    """Return whether two tensors differ by no more than a share of the largest number in them."""
    return float((one - other).abs().max()) <= share * float(other.abs().max())
