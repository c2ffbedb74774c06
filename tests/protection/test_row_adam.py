"""Adam beside the network's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from growenv.protection.row_adam import row_adam


def test_every_row_takes_the_steps_of_an_optimiser_of_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    start, gradients = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((2, 3), (5, 2, 3)))
    ours, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for number in range(5):
        if number == 2:  # row 1 starts anew
            first[1], second[1] = 0.0, 0.0
        counts = np.array([number + 1, number + 1 if number < 2 else number - 1])
        row_adam(ours, gradients[number], first, second, counts, 0.05)
    for row, restart in ((0, 5), (1, 2)):
        expected = start[row].clone().requires_grad_()
        for steps in (range(restart), range(restart, 5)):
            optimizer = torch.optim.Adam([expected], lr=0.05, betas=(0.9, 0.99), eps=1e-8)
            for number in steps:
                expected.grad = gradients[number, row].clone()
                optimizer.step()
        torch.testing.assert_close(ours[row], expected.detach(), atol=1e-12, rtol=0)


def test_what_never_had_a_gradient_stays_as_it_is() -> None:
    value, first, second = torch.tensor([[0.01, 0.5]]), torch.zeros(1, 2), torch.zeros(1, 2)
    for step in range(1, 4):
        row_adam(value, torch.tensor([[0.0, 1.0]]), first, second, np.array([step]), 0.1)
    assert value[0, 0] == torch.tensor(0.01)
    assert float(value[0, 1]) == pytest.approx(0.2, abs=1e-6)  # three steps of 0.1
