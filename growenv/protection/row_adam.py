"""Adam for numbers that a protection trains beside the weights, with a step count for each row."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BETAS, EPSILON = (0.9, 0.99), 1e-8
"""As networks are trained."""


def row_adam(
    value: Tensor, gradient: Tensor, first: Tensor, second: Tensor, counts: NDArray[np.int64], rate: float
) -> None:
    """One step of Adam, in place (Kingma and Ba 2015, arXiv 1412.6980).

    Where a gradient was always zero, the value stays as it is, bit for bit.

    Args:
        value: what is trained, (N, ...).
        gradient: derivative of each row's loss, like `value`.
        first, second: moments, like `value`; zeros before the first step.
        counts: steps of each row, this one included, (N,), at least 1.
        rate: step size.
    """
    first.mul_(BETAS[0]).add_(gradient, alpha=1.0 - BETAS[0])
    second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1.0 - BETAS[1])
    shape = (-1,) + (1,) * (value.dim() - 1)
    one, two = (torch.from_numpy(1.0 - beta**counts).to(value).view(shape) for beta in BETAS)
    value.sub_(rate * (first / one) / ((second / two).sqrt_().add_(EPSILON)))
