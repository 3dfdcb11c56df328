"""State of a run: captured from it, and restored."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import nn

from accel.checkpoints.snapshot import bytes_of, tensors
from accel.checkpoints.state_kinds import check_kinds, check_tensors
from accel.checkpoints.weights.weight_names import plain_state, with_names_of
from accel.device.dtensor import is_dtensor, shard_like
from accel.parts import Progress, Run
from accel.parts.shared.trained_parameters import capture_trained, restore_trained

__all__ = ["DRAWS", "KINDS", "capture", "moved_bytes", "resize_buffers", "restore"]

KINDS = {"model": dict, "parts": dict, "rng": dict, "progress": dict, "history": list}

DRAWS = "by sample"
"""How data draws random numbers. In older checkpoints it did as it was read."""


def capture(run: Run, progress: Progress) -> dict[str, Any]:
    """Return everything that a resumed run needs. Its tensors are the run's own, not copies.

    Every rank must call it: each has random numbers of its own.
    """
    rng, *others = run.parts.parallel.gather({"now": run.random.state(), "began": run.epoch_rng_state})
    rng["others"], rng["draws"] = others, DRAWS
    parts = {part.name: part.state_dict() for part in [*run.parts.all(), *run.watches]}
    bad = {log.rule.dataset: dict(log.reasons) for log in run.bad_sample_logs()}
    user, resized, extra = dict[str, Any](), list[str](), None
    if run.user_state is not None:
        user, resized, extra = run.user_state.state_dict(), run.user_state.resized_buffers(), run.user_state.extra_state()
    trained = capture_trained(run)
    return {
        "model": plain_state(run.unwrapped_model, run.unwrapped_model.state_dict()),
        "parts": plain_state(run.unwrapped_model, parts),
        "rng": rng,
        "progress": vars(progress),
        "history": run.history,
        "bad": bad,
        **({"user": user} if user else {}),
        **({"resized": list(plain_state(run.unwrapped_model, dict.fromkeys(resized)))} if resized else {}),
        **({"extra": extra} if extra is not None else {}),
        **({} if trained is None else {"trained": trained}),
        **({"length": length} if (length := run.length_state()) else {}),
    }


def moved_bytes(run: Run) -> int:
    """Return the bytes of what this rank saves of the weights, the optimiser's state and the average, which is nearly all."""
    parts = run.parts
    states = [run.unwrapped_model.state_dict(), *(part.state_dict() for part in (parts.precision, parts.optim, parts.average))]
    return bytes_of([tensor for _, tensor in tensors(states) if parts.parallel.rank == 0 or is_dtensor(tensor)])


def restore(run: Run, state: dict[str, Any], recorded: dict[str, int] | None = None) -> list[str]:
    """Put a captured state into a run that was built the same way, and free each piece of it once it is there.

    Args:
        run: the run.
        state: the state.
        recorded: the progress that the checkpoint's manifest gives; None for any.

    Returns:
        A sentence for whatever the state has and the run has no place for.

    Raises:
        Exception: whatever the parts raise for a state that is not theirs.
    """
    progress = _checked_progress(state, recorded)
    state |= {key: with_names_of(run.unwrapped_model, state.pop(key)) for key in ("model", "parts")}
    check_tensors(state, {"model": run.unwrapped_model.state_dict()})
    parts = [part for part in [*run.parts.all(), *run.watches] if part.name in state["parts"]]
    for part in parts:
        with suppress(AttributeError):  # a watch may know its state only when the run has begun
            check_kinds(state["parts"][part.name], part.state_dict(), part.name)
    _restore_model(run, state)
    for part in parts:
        part.load_state_dict(state["parts"].pop(part.name))
    sentences = [*_homeless_parts(state["parts"]), *_restore_user_values(run, state)]
    vars(run.progress).update(vars(progress))
    run.history[:] = state["history"]
    run.load_length_state(state.get("length", {}))
    for log in run.bad_sample_logs():
        log.reasons |= state.get("bad", {}).get(log.rule.dataset, {})
    _restore_random_numbers(run, state["rng"])
    return sentences


def _checked_progress(state: dict[str, Any], recorded: dict[str, int] | None) -> Progress:
    """Return the progress in a state. Raise ValueError if it is no state of a run, or not the one that is recorded."""
    if not all(isinstance(state.get(key), kind) for key, kind in KINDS.items()) or not all(map(_is_metrics, state["history"])):
        raise ValueError("it has other contents")
    if state["progress"] != (recorded or state["progress"]) or any(type(count) is not int for count in state["progress"].values()):
        raise ValueError("it is of another update than its .json")
    return Progress(**state["progress"])  # an unknown name is an error


def _restore_model(run: Run, state: dict[str, Any]) -> None:
    """Load weights and buffers, and which parameters were trained."""
    resized = with_names_of(run.unwrapped_model, dict.fromkeys(state.get("resized", [])))
    resize_buffers(run.unwrapped_model, state["model"], list(resized))
    current = run.unwrapped_model.state_dict()
    run.unwrapped_model.load_state_dict({name: shard_like(value, current.get(name)) for name, value in state.pop("model").items()})
    restore_trained(run, state.get("trained"))


def _homeless_parts(parts: dict[str, Any]) -> list[str]:
    """Return a sentence if a part that the run does not have has left a state."""
    left = [name for name, kept in parts.items() if not _says_nothing(kept)]
    return [f"the checkpoint has a state of {', '.join(left)}, of which this run has no part; it is left out"] if left else []


def _restore_user_values(run: Run, state: dict[str, Any]) -> list[str]:
    """Put back what the user's own objects remember. Return a sentence if the run has no place for some of it."""
    if run.user_state is None:
        return []
    lost = run.user_state.load_state_dict(state.get("user", {}), run.device)
    if state.get("extra") is not None:
        run.user_state.holders["task"].set_extra_state(state["extra"])
    return [f"the checkpoint has values of {', '.join(lost)}, for which the run has no place; they are left out"] if lost else []


def _restore_random_numbers(run: Run, rng: dict[str, Any]) -> None:
    """Put the random generators of this rank where they were; those of a rank that there was not begin anew."""
    rank, ranks = run.parts.parallel.rank, [rng, *rng["others"]]
    if rank < len(ranks):
        run.epoch_rng_state = ranks[rank]["began"]
        run.random.restore(ranks[rank]["now"])
    else:  # there are more ranks now than there were
        run.random.fork_for_rank(run.seed, rank, run.progress.step)
        run.epoch_rng_state = run.random.state()


def resize_buffers(model: nn.Module, state: dict[str, Any], names: list[str]) -> None:
    """Give buffers that grew, such as a memory bank, or that a forward pass made, the shape and dtype that they have in a state."""
    for name in names:
        path, _, key = name.rpartition(".")
        buffers = model.get_submodule(path)._buffers
        if key not in buffers:  # a forward pass makes it
            if not key.isidentifier() or hasattr(model.get_submodule(path), key):
                raise ValueError(f"the model has no buffer {name}")
            model.get_submodule(path).register_buffer(key, None)
        if name in state:
            now = buffers[key]
            device = next(model.parameters()).device if now is None else now.device
            buffers[key] = torch.empty_like(state[name], device=device)


def _says_nothing(state: Any) -> bool:
    """Return whether nothing is lost with the state of a part: it is empty, or of the ranks, who agree on it anew."""
    return not isinstance(state, dict) or state.keys() == {"usual"} or all(value is None for value in state.values())


def _is_metrics(row: Any) -> bool:
    return isinstance(row, dict) and all(type(name) is str and type(value) in (int, float) for name, value in row.items())
