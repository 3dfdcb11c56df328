"""The model's shape: which modules it is made of while it trains, and which it is shipped with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from accel.parts.model_shape.replacement import Replacement
from accel.parts.part import Part
from accel.parts.run import Run

if TYPE_CHECKING:
    from accel.parts.grads import Grads
    from accel.parts.watch import Trial

__all__ = ["Branches", "Folding", "Pruning", "Quantisation", "Shape", "Shipped"]


class Shipped(NamedTuple):
    """A model as it is shipped, and the structure with which it is built again."""

    model: nn.Module
    structure: dict[str, Any]


@dataclass(eq=False)
class Shape(Part):
    """One way to change the modules of a model; plainest: they are as the user made them.

    The kinds are set up in the order of `Parts`, and a run may have a plugin of each. `structure` tells in plain values what was
    done to the user's own model. It lies in the manifest of each checkpoint and in the metadata of each file of weights. `rebuild`
    does the same to a model that the user's code has made anew, in another process, before any tensor is loaded.
    """

    def model(self, model: nn.Module, structure: dict[str, Any] | None) -> nn.Module:
        """Return the model to train. Called once, before objectives, frozen parameters and all other parts see it.

        Weights that the run begins with (`init`) are loaded already. `setup` comes later, when the length of the run is known. Both
        leave torch's random numbers where they are.

        Args:
            model: the user's model, on the device of the run.
            structure: what `rebuild` has just done to it, of a checkpoint that is resumed or of the run that `init` names; None for
                a model as the user made it.

        Raises:
            ConfigError: for a layer that cannot be changed, by its name.
        """
        return model

    def change(self, run: Run) -> Sequence[Replacement] | None:
        """Change the model between two updates. Called before each update, on every rank; `run.progress.step` updates are done.

        It may be called again after the same update: by a run that was resumed there, and where an epoch ends. `structure` and
        `state_dict` have to tell whether the change was made.

        Returns:
            The parameters that stand where others stood, which all parts then follow (`Part.replace_parameters`,
            `Part.follow_parameters`); an empty list if modules or buffers alone have changed; None if nothing has. The model itself
            stays the same object.
        """
        return None

    def changes_model(self) -> bool:
        """Return whether `change` may change anything."""
        return type(self).change is not Shape.change

    def changes_shape(self) -> bool:
        """Return whether `change` may put other parameters in the place of some, and not only other numbers into them."""
        return self.changes_model()

    def structure(self) -> dict[str, Any]:
        """Return what has been done to the user's model so far, in values that JSON can hold; empty if nothing was."""
        return {}

    @classmethod
    def rebuild(cls, model: nn.Module, structure: dict[str, Any]) -> nn.Module:
        """Return a model as the user's code makes it, with the modules that `structure` or `ship` tells of.

        Tensors are loaded later. A model that has been rebuilt already stays as it is.

        Raises:
            ConfigError: for a model of another make.
        """
        return model

    @classmethod
    def undone(cls, model: nn.Module) -> nn.Module:
        """Return a model without what `rebuild` has put in, where it can be taken out again; plainest: as it is.

        A resumed run is built so that each part sees the model that it saw at first: without what comes after it.
        """
        return model

    @classmethod
    def follow_shipped(cls, model: nn.Module, structure: dict[str, Any]) -> dict[str, Any]:
        """Return its structure in the names of a model that the parts before it ship; plainest: they have changed none.

        Args:
            model: as for `ship`, which is called next.
            structure: its structure in the trained model.
        """
        return structure

    @classmethod
    def ship(cls, model: nn.Module, structure: dict[str, Any]) -> Shipped:
        """Return the model without what only training needs: branches merged, masks made zeros.

        Args:
            model: a copy of the trained model in evaluation mode, on the CPU, which may be changed.
            structure: its structure.
        """
        return Shipped(model, structure)

    def evaluating(self, run: Run) -> AbstractContextManager[None]:
        """Return a context in which an evaluation sees the model, in evaluation mode and with its weights; plainest: as it is.

        The model is what it was at the end.
        """
        return nullcontext()

    def capture_blocker(self) -> str:
        return "" if Shape in type(self).__bases__ else super().capture_blocker()


@dataclass(eq=False)
class Branches(Shape):
    """Branches beside layers while the model trains; plainest: none."""


@dataclass(eq=False)
class Pruning(Shape):
    """Channels or weights that are taken away; plainest: none. It comes after Branches, whose channels it may have to cut."""

    follows_length = False
    """Whether it depends on the number of updates of the whole run, so that a resumed run must have as many."""

    def explore(self, run: Run, trial: Trial) -> None:
        """Try out on copies of the model what is going to be done to it. Called once, when the run is set up or resumed.

        Args:
            run: the run.
            trial: gives windows of the training data; afterwards the run is what it was.

        Raises:
            ConfigError: for what cannot be done to this model.
        """

    def penalised(self, loss: Tensor) -> Tensor:
        """Return the loss of a micro-batch, 0-dim, with a penalty that does not depend on the data; plainest: without one."""
        return loss

    def before_step(self, grads: Grads) -> None:
        """See the gradients of the window before the optimiser does, and make zeros of those of weights that are gone."""

    def after_step(self) -> None:
        """See that the optimiser has made its step, or has left it out."""


@dataclass(eq=False)
class Folding(Shape):
    """Layers that are one in evaluation; plainest: none. It comes before Quantisation, whose layers keep their own weights."""


@dataclass(eq=False)
class Quantisation(Shape):
    """Arithmetic in few bits, as it will be shipped; plainest: none. It comes last, over the layers that are left."""

    follows_length = False
    """Whether it depends on the number of updates of the whole run, so that a resumed run must have as many."""

    def explore(self, run: Run, trial: Trial) -> None:
        """Try out on a copy of the model what is going to be done to it, as `Pruning.explore`."""

    def after_backward(self) -> None:
        """See that the backward passes of an update are done, on every rank. Buffers that change here stay if it is not skipped."""

    def loses_zeros(self) -> Collection[str]:
        """Return the names of layers that compute with something else where a weight is zero; plainest: none."""
        return ()
