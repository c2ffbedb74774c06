"""Orthogonal growth: new units that are unlike the old ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.growth import OPERATORS, GrowthBatch, OrthogonalGrowth
from growenv.growth.orthogonal import CANDIDATES, selected
from growenv.growth.random import random_fan_in
from growenv.growth.scaling import LIVE_SHARE, live_norms
from growenv.learner import Learner
from growenv.registry import UnknownNameError
from tests.growth.hand_built import about_to_grow, across, normal
from tests.growth.test_operators import begun

AMOUNTS = np.array([3, 0, 2])


def begun_and_grown() -> tuple[Learner, list[Tensor]]:
    """Rows with frozen and active units in both layers, and all incoming weights of these units."""
    ours = begun(1, hidden=(6, 4), growth="random")
    for layer in (0, 1):
        ours.grow(np.full(3, layer), np.array([2, 1, 3]))
        ours.train()
    older = [ours.network.into(layer).clone() for layer in (0, 1)]
    for weights in older:
        weights[:, :, 0] = 0.0  # the constant unit
    return ours, older


def proposed(variant: str, layer: int, **options: object) -> tuple[Learner, GrowthBatch, Tensor, Tensor]:
    """A learner, what it asked for, new incoming weights, and those of all older units."""
    ours, older = begun_and_grown()
    batch = ours.reserve(layer, AMOUNTS)
    return ours, batch, OrthogonalGrowth(variant, **options).propose(ours.network, batch).fan_in, older[layer]


def own(fan_in: Tensor) -> list[tuple[int, Tensor]]:
    return [(row, fan_in[row, :, : AMOUNTS[row]]) for row in (0, 2)]


@pytest.mark.parametrize("layer", [0, 1])
def test_pre_makes_pre_activations_orthogonal_to_those_of_all_other_units(layer: int) -> None:
    ours, _, fan_in, older = proposed("pre", layer)
    read = ours.evidence().below[layer]
    for row, new in own(fan_in):
        old, answers = read[row] @ older[row], read[row] @ new
        cosine = torch.nn.functional.normalize(old, dim=0).T @ torch.nn.functional.normalize(answers, dim=0)
        assert cosine.abs().max() < 1e-6
        mutual = torch.nn.functional.normalize(answers, dim=0)
        torch.testing.assert_close(mutual.T @ mutual, torch.eye(new.shape[1]).double(), atol=1e-6, rtol=0)


def test_pre_adds_nothing_to_a_random_vector_but_what_older_units_read() -> None:
    ours, batch, fan_in, older = proposed("pre", 0)
    drawn = random_fan_in(ours.network, batch, np.ones(3), draw=1)
    for row, new in own(fan_in):
        span = torch.cat((older[row], new), dim=1)
        for unit in range(AMOUNTS[row]):
            vector = drawn[row, :, unit]
            torch.testing.assert_close(span @ torch.linalg.pinv(span) @ vector, vector, atol=1e-9, rtol=0)


@pytest.mark.parametrize("layer", [0, 1])
def test_weight_makes_incoming_weights_orthogonal_to_those_of_all_other_units(layer: int) -> None:
    ours, batch, fan_in, older = proposed("weight", layer)
    bias = -1 if layer == 0 else 0
    for row, new in own(fan_in):
        assert not new[bias].any()
        kept = older[row].clone()
        kept[bias] = 0.0
        inputs = ours.network.inputs if layer == 0 else int(ours.network.widths[row, 0])
        there = min(AMOUNTS[row], inputs - int(batch.units[row]))
        assert there > 0
        cosine = torch.nn.functional.normalize(torch.cat((kept, new[:, :there]), dim=1), dim=0)
        between = cosine.T @ cosine[:, kept.shape[1] :]
        between[kept.shape[1] :].fill_diagonal_(0.0)
        assert between.abs().max() < 1e-9


def greedy(units: Tensor, answers: Tensor, count: int) -> list[int]:
    """Candidates with the longest least-squares residual on all units so far, one row, the slow way."""
    chosen: list[int] = []
    for _ in range(count):
        there = torch.cat((units, answers[:, chosen]), dim=1)
        there = there[:, there.any(dim=0)]
        left = answers - there @ torch.linalg.pinv(there) @ answers
        chosen.append(int(left.norm(dim=0).argmax()))
    return chosen


@pytest.mark.parametrize("layer", [0, 1])
def test_select_takes_the_candidates_that_add_most_to_the_span(layer: int) -> None:
    ours = begun(1, hidden=(6, 6), protection="finetune")
    batch = ours.reserve(layer, AMOUNTS)
    seen = across(ours.network, batch)
    fan_in, found = selected(ours.network, batch, seen, 30)
    assert found.all()
    several = batch.__class__(
        layer, np.array([30, 0, 30]), batch.seeds, batch.units, batch.first, batch.outputs, batch.probe
    )
    drawn = random_fan_in(ours.network, several, np.ones(3), draw=1)[[0, 2]]
    for row in range(2):
        answers = (seen.read[row] @ drawn[row]).clamp(min=0.0)
        chosen = greedy(seen.units[row], answers, 3)
        torch.testing.assert_close(fan_in[row], drawn[row][:, chosen])


def test_more_candidates_add_more() -> None:
    sums = []
    for candidates in (4, None):
        ours, _, fan_in, _ = proposed("select", 0, candidates=candidates)
        read, units = ours.evidence().below[:2]
        total = 0.0
        for row, new in own(fan_in):
            answers = (read[row] @ new).clamp(min=0.0)
            total += float((answers - units[row] @ torch.linalg.pinv(units[row]) @ answers).norm())
        sums.append(total)
    assert sums[1] > 1.2 * sums[0]
    assert OrthogonalGrowth().candidates == CANDIDATES


@pytest.mark.parametrize("variant", ["select", "pre", "weight"])
@pytest.mark.parametrize("layer", [0, 1])
def test_vectors_have_half_the_length_of_the_others_and_the_function_stays(variant: str, layer: int) -> None:
    ours = begun(0, hidden=(12, 6))
    batch = ours.reserve(layer, AMOUNTS)
    proposal = OrthogonalGrowth(variant, scale=1.5).propose(ours.network, batch)
    assert proposal.fan_out is None
    bias = -1 if layer == 0 else 0
    length = torch.from_numpy(1.5 * LIVE_SHARE * live_norms(ours.network, batch, "in"))
    for row, new in own(proposal.fan_in):
        new = new.clone()
        new[bias] = 0.0
        torch.testing.assert_close(new.norm(dim=0), length[[row]].expand(AMOUNTS[row]))


@pytest.mark.parametrize("variant", ["pre", "weight"])
def test_units_for_which_there_is_no_room_grow_at_random(variant: str) -> None:
    """Three inputs and the constant one: room for four pre-activations, or for three incoming vectors."""
    room = {"pre": 4, "weight": 3}[variant]
    h, targets = normal(0, 2, 30, 3), normal(1, 2, 30, 2)
    network, batch = about_to_grow(h, targets, 4, (normal(2, 2, 4, 2), normal(3, 2, 2, 2)))
    fan_in = OrthogonalGrowth(variant).propose(network, batch).fan_in
    random = OPERATORS.make("random").propose(network, batch).fan_in
    left = room - 2
    torch.testing.assert_close(fan_in[:, :, left:].abs(), random[:, :, left:].abs())
    assert (fan_in[:, :, :left] - random[:, :, :left]).abs().amax(dim=1).min() > 0.01


def test_a_layer_as_wide_as_the_probe_batch_is_long_has_no_room_for_answers() -> None:
    h, targets = normal(0, 1, 10, 6), normal(1, 1, 10, 2)
    network, batch = about_to_grow(h, targets, 2, (normal(2, 1, 7, 40), normal(3, 1, 40, 2)))
    assert torch.linalg.matrix_rank(across(network, batch).units[0]) == 10
    fan_in = OrthogonalGrowth().propose(network, batch).fan_in
    random = OPERATORS.make("random").propose(network, batch).fan_in
    torch.testing.assert_close(fan_in.abs(), random.abs())


def test_variants_by_name_and_by_option() -> None:
    assert OPERATORS.make("orthogonal").variant == "select"
    for variant in ("pre", "weight"):
        part = OPERATORS.make(f"orthogonal-{variant}")
        assert (part.variant, part.name) == (variant, f"orthogonal-{variant}")
    with pytest.raises(UnknownNameError, match="unknown variant of orthogonal growth 'weights'; did you mean 'weight'"):
        OrthogonalGrowth("weights")  # type: ignore[arg-type]
    for options in ({"candidates": 0}, {"variant": "pre", "candidates": 10}):
        with pytest.raises(ValueError, match="candidates are for variant='select', at least 1"):
            OrthogonalGrowth(**options)
    with pytest.raises(ValueError, match="scale of orthogonal-pre growth must be above 0"):
        OrthogonalGrowth("pre", scale=-1.0)
