"""What signals share: readers, errors, candidates, kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from growenv.growth.signals.products import CANDIDATES, FEW, directions
from tests.growth.signals.scenes import SCENES, begun, scene, scene_of, slowly
from tests.growth.signals.test_saturation import candidates


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("row", range(3))
def test_products_equal_a_slow_reference(name: str, row: int) -> None:
    seen, products = slowly(name, row), scene(name).products
    assert products.loss[row] == pytest.approx(seen.loss)
    for layer in range(seen.depth):
        heard = seen.heard(layer)
        assert products.readers(layer)[row] == heard.shape[1]
        assert products.reads(layer)[row] == seen.read[layer].shape[1]
        errors = products.errors(layer)[row].numpy() * len(heard)
        np.testing.assert_allclose(errors[:, : heard.shape[1]], heard, atol=1e-12)
        assert not errors[:, heard.shape[1] :].any(), "what a row has comes first"
        np.testing.assert_allclose(products.candidates[layer, row], candidates(seen, layer), atol=1e-12)
        units, read = seen.units[layer][:FEW], seen.read[layer + 1][:FEW]
        np.testing.assert_allclose(products.kernels[layer, row], units @ units.T / FEW, atol=1e-12)
        np.testing.assert_allclose(products.kernels_read()[layer, row], read @ read.T / FEW, atol=1e-12)
    assert products.reads(seen.depth)[row] == seen.read[-1].shape[1]


def test_directions_are_the_same_in_every_table() -> None:
    small, squares = directions(1, 2, 16, torch.float64, torch.device("cpu"))
    large, more = directions(1, 2, 64, torch.float64, torch.device("cpu"))
    assert torch.equal(small, large[:17])
    np.testing.assert_array_equal(squares, more[:17])
    assert not small[0].any(), "the constant unit has no part in them"
    assert torch.equal(small[:, : CANDIDATES // 2], -small[:, CANDIDATES // 2 :])
    np.testing.assert_allclose(more[64], (large**2).sum(dim=0))
    assert not torch.equal(small, directions(0, 2, 16, torch.float64, torch.device("cpu"))[0])
    assert not torch.equal(small, directions(1, 1, 16, torch.float64, torch.device("cpu"))[0])


def test_a_probe_batch_may_be_tiny() -> None:
    products = scene_of(begun(0), 1).products
    assert products.few == 1
    assert products.kernels.shape == (2, 3, 1, 1)


def test_nothing_is_worked_out_before_it_is_asked_for() -> None:
    products = scene_of(begun(0)).products
    assert "below" not in vars(products.evidence)
    products.readers(0), products.reads(1)
    assert "below" not in vars(products.evidence)
    _ = products.kernels
    assert "logits" not in vars(products.evidence), "no errors are needed for activations"
