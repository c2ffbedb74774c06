"""The diagonal of the Fisher information of every weight, from per-sample gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from growenv.growth.evidence import Evidence
from growenv.registry import unknown_name

LABELS = ("exact", "sampled", "true", "predicted")
"""Whose gradients are squared: of every label, weighted by its probability; of one drawn from the network's answer; of
the right one (the "empirical" Fisher information); of the likeliest one."""


def check_labels(labels: str) -> None:
    """Refuse what is not in `LABELS`.

    Raises:
        UnknownNameError: no such choice.
    """
    if labels not in LABELS:
        raise unknown_name("choice of Fisher labels", labels, LABELS)


def drawn_labels(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """A label for each sample, drawn from its probabilities; one without probability is never drawn, int64 (N, B).

    Args:
        probabilities: shape (N, B, C).
        uniforms: numbers in [0, 1), float64 (N, B).
    """
    total = probabilities.double().cumsum(dim=2)
    # In (0, total], so that neither rounding nor a zero can reach a label without probability.
    wanted = (1.0 - uniforms)[:, :, None] * total[:, :, -1:]
    return (total < wanted).sum(dim=2)


def squared_gradients(seen: Evidence, probabilities: Tensor, labels: Tensor | None) -> list[Tensor]:
    """Squares of the gradients of the log-probability of labels, sample by sample, summed over the samples.

    The gradient of one sample is the outer product of what a layer reads and of its error, and so is its square: the
    sum over samples is ``(x^2)^T (error^2)``, one product for each layer. That of all labels is the same product with
    ``sum_c p_c error_c^2``, so a further label costs only the way back through the layers.

    Args:
        seen: the samples seen through the networks.
        probabilities: what the networks answer, (N, B, C).
        labels: the label of each sample, int64 (N, B); None for every label, weighted by its probability.

    Returns:
        L + 1 blocks (N, fan_in, fan_out), as `StackedMLP.weights`.

    Source: Kirkpatrick et al. 2017, arXiv 1612.00796; which labels: Martens 2020, arXiv 1412.1193, section 5.
    """
    if labels is not None:
        error = probabilities.scatter_add(2, labels[:, :, None], -torch.ones_like(probabilities[:, :, :1]))
        squares = [each.square() for each in seen.with_gradient(error).errors]
    else:
        squares = _expected_squares(seen, probabilities)
    return [torch.bmm(x.square().transpose(1, 2), each) for x, each in zip(seen.below, squares, strict=True)]


def _expected_squares(seen: Evidence, probabilities: Tensor) -> list[Tensor]:
    """The mean over labels of the squared errors of every layer, (N, B, fan_out)."""
    possible = probabilities.amax(dim=(0, 1)).nonzero().flatten().tolist()
    squares: list[Tensor] = []
    for label in possible:
        error = probabilities.clone()
        error[:, :, label] -= 1.0
        parts = [probabilities[:, :, label, None] * each.square() for each in seen.with_gradient(error).errors]
        squares = [one.add_(two) for one, two in zip(squares, parts, strict=True)] if squares else parts
    return squares
