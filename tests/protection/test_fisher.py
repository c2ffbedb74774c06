"""Fisher information: by hand, and as autograd finds it sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.growth.evidence import CrossEntropy, Evidence
from growenv.networks import StackedMLP
from growenv.protection.fisher import LABELS, check_labels, drawn_labels, squared_gradients
from growenv.registry import UnknownNameError
from tests.growth.hand_built import normal
from tests.protection.slow import slow_fisher
from tests.reference import row_of

LOG3 = float(np.log(3.0))


def see(network: StackedMLP, x: Tensor, absent: Tensor) -> tuple[Evidence, Tensor]:
    seen = Evidence(network, x, CrossEntropy(torch.zeros(x.shape[:2], dtype=torch.int64), absent))
    return seen, torch.softmax(seen.logits + absent, 2)


def tiny(outer: float = LOG3) -> StackedMLP:
    """One input, one unit that passes it on, logits (0, outer / 2 * input)."""
    network = StackedMLP(1, 1, 1, 2, dtype=torch.float64)
    one = np.array([1])
    fan_in, fan_out = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[0.0, outer / 2]]], dtype=torch.float64)
    network.set_units(0, network.reserve(0, one), one, fan_in, fan_out)
    return network


# With the input 2 the answer is (1/4, 3/4): the squared errors of (output 0, output 1) are 9/16 for label 0 and 1/16
# for label 1, of which the unit hears (log 3 / 2)^2.
BY_HAND = {None: 3 / 16, 0: 9 / 16, 1: 1 / 16}


@pytest.mark.parametrize(("label", "squared"), BY_HAND.items())
def test_a_tiny_fisher_information_is_as_worked_out_by_hand(label: int | None, squared: float) -> None:
    network, x, absent = tiny(), torch.tensor([[[2.0, 1.0]]], dtype=torch.float64), torch.zeros(1, 1, 2)
    seen, p = see(network, x, absent)
    torch.testing.assert_close(p, torch.tensor([[[0.25, 0.75]]], dtype=torch.float64))
    labels = None if label is None else torch.tensor([[label]])
    inner, head = squared_gradients(seen, p, labels)
    unit = network.layout.frozen[0]
    assert head[0, unit].tolist() == pytest.approx([4 * squared] * 2)
    assert head[0, 0].tolist() == pytest.approx([squared] * 2), "biases of the head"
    heard = squared * LOG3**2 / 4
    assert inner[0, :, 0].tolist() == pytest.approx([4 * heard, heard])
    assert head.sum() == pytest.approx(10 * squared), "nothing else has importance"
    assert inner.sum() == pytest.approx(5 * heard)


def test_gradients_are_squared_before_they_are_averaged() -> None:
    """Two samples that pull in opposite directions: the gradient of their mean loss is zero, their information not."""
    network, absent = tiny(outer=0.0), torch.zeros(1, 1, 2)
    x = torch.tensor([[[2.0, 1.0], [2.0, 1.0]]], dtype=torch.float64)
    seen, p = see(network, x, absent)
    _, head = squared_gradients(seen, p, torch.tensor([[0, 1]]))
    assert head[0, network.layout.frozen[0]].tolist() == pytest.approx([2.0, 2.0]), "4 * 1/4 from either"


def ragged(bypassed: tuple[int, ...] = ()) -> StackedMLP:
    """Three networks of different widths with weights from a hat."""
    network = StackedMLP(3, 5, 2, 4, bypassed=bypassed, dtype=torch.float64)
    for layer, amounts in enumerate((np.array([3, 9, 1]), np.array([4, 2, 0] if bypassed else [4, 2, 7]))):
        first = network.reserve(layer, amounts)
        fan_in = 0.5 * normal(layer, 3, network.layout.fan_in(layer), int(amounts.max()))
        if layer:
            fan_in *= torch.from_numpy(network.read_index(layer) >= 0)[:, :, None]
        network.set_units(layer, first, amounts, fan_in)
    network.weights[-1].copy_(normal(2, *network.weights[-1].shape))
    network.weights[-1].mul_(torch.from_numpy(network.read_index(2) >= 0)[:, :, None])
    return network


@pytest.mark.parametrize("labels", ["exact", "true", "predicted"])
@pytest.mark.parametrize("bypassed", [(), (1,)])
def test_information_equals_autograd_sample_by_sample(labels: str, bypassed: tuple[int, ...]) -> None:
    network, x = ragged(bypassed), normal(3, 3, 6, 6)
    x[:, :, -1] = 1.0
    absent = torch.zeros(3, 1, 4, dtype=torch.float64)
    absent[1, 0, 2:] = -1e9
    right = torch.tensor([[0, 1, 1, 0, 0, 1]]).expand(3, -1)
    seen, p = see(network, x, absent)
    chosen = {"exact": None, "true": right, "predicted": p.argmax(dim=2)}[labels]
    blocks = [each / 6 for each in squared_gradients(seen, p, chosen)]
    for row in range(3):
        expected = slow_fisher(row_of(network, row), x[row], absent[row].expand(6, -1), labels, right[row])
        given = row_of(network, row, blocks).trained
        for one, two in zip(given, expected, strict=True):
            torch.testing.assert_close(one, two, atol=1e-12, rtol=1e-9)
        whole = [float(block[row].sum()) for block in blocks]
        assert whole == pytest.approx([float(each.sum()) for each in expected]), "padding has none"


def test_drawn_labels_follow_the_probabilities_and_never_lack_one() -> None:
    p = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0]).expand(1, 8, 5)
    draws = torch.tensor([[0.0, 0.1, 0.5, 0.74, 0.76, 0.9, 1.0 - 2.0**-53, 0.3]], dtype=torch.float64)
    assert drawn_labels(p, draws).tolist() == [[3, 3, 3, 3, 1, 1, 1, 3]]


def test_unknown_labels_are_refused() -> None:
    for known in LABELS:
        check_labels(known)
    with pytest.raises(UnknownNameError, match="unknown choice of Fisher labels 'exakt'; did you mean 'exact'"):
        check_labels("exakt")
