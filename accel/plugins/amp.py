"""AMP: 16-bit arithmetic over 32-bit weights (automatic mixed precision).

Matrix products and convolutions run in bfloat16 or float16. Weights, gradients,
sums and the optimiser stay in float32.

float16 has 5 bits of exponent, so small gradients vanish. The loss is therefore
scaled up before the backward pass, and the optimiser divides by the scale. An
update whose gradients overflow is skipped, and the scale backs off. After
`growth_interval` good updates in a row the scale grows.

Helps   models made of matrix products, on hardware that multiplies 16-bit
        numbers faster: tensor cores, AVX512-BF16, AMX.
Hurts   small models, because each cast takes time; bfloat16 on a CPU or a GPU
        without instructions for it. GPUs have them from compute capability 8.0
        on (not T4, V100, RTX 20): a bundle leaves amp out there, and
        dtype=float16 is fast.
Costs   casts of the weights once per forward pass. The plugin `master_weights`
        computes the same and casts once per update. float16 reads the gradients
        once more, to see an overflow.
Source  Micikevicius et al., Mixed Precision Training, arXiv 1710.03740. The
        scale follows `torch.amp.GradScaler`.
Exact   Nothing is read on the host: whether an update was skipped is a number
        on the device. A fused optimiser and the average of the weights heed it
        there. A gradient whose norm overflows float32 counts as overflowed.
"""

from __future__ import annotations

from dataclasses import dataclass

from accel.parts import Autocast

__all__ = ["AMP"]


@dataclass(eq=False)
class AMP(Autocast):
    """Automatic mixed precision: `torch.autocast` around forward pass and loss, with the settings of `Autocast`."""
