"""The weights that are shipped: those of the trained model without what only training needs."""

from __future__ import annotations

from copy import deepcopy

from torch import nn

from accel.checkpoints.weights import write_weights
from accel.checkpoints.weights.find_weights import SHIPPED
from accel.checkpoints.weights.weights_file import structure_facts
from accel.engine.training_run import TrainingRun
from accel.parts.model_shape.model_structure import is_shipped_changed, kinds_of_run, ship, structure_of
from accel.system.call_stack import warn_user

__all__ = ["write_shipped"]


def write_shipped(run: TrainingRun, model: nn.Module, checkpoint: str) -> None:
    """Write shipped.safetensors beside the trained weights, if the model is shipped as another one.

    Args:
        run: the run, which has a directory.
        model: the trained model, whole and without wrappers, which is left as it is.
        checkpoint: name of the checkpoint of the same moment.

    Raises:
        OSError: if the disk does not take it.
    """
    structure, kinds = structure_of(run), kinds_of_run(run)
    if run.out is None or not is_shipped_changed(structure, kinds):
        return
    try:
        copy = deepcopy(model).cpu().eval()
    except Exception as error:  # of the user's own objects: a lock, an open file
        warn_user(f"{SHIPPED} is not written: the model cannot be copied ({' '.join(str(error).split())[:200]})")
        return
    shipped, inner = ship(copy, structure, kinds)
    facts = {"checkpoint": checkpoint, **structure_facts(inner)}
    write_weights(run.out / SHIPPED, shipped.state_dict(), "saving.shipped", None, **facts)
