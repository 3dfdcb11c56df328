"""What each plugin of a run brings: in speed, in memory and in the loss."""

from accel.diagnose.ablation.ablate import ablate
from accel.diagnose.ablation.contribution import Ablation, Contribution

__all__ = ["Ablation", "Contribution", "ablate"]
