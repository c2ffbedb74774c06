"""Firefly: candidates that are trained, scored and chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.growth import Evidence, Firefly, GrowthBatch, RandomGrowth
from growenv.growth.firefly import DRAWS, SPLIT_WITHIN, Candidates
from growenv.growth.scaling import live_norms, older_units
from growenv.learner import Learner
from tests.growth.test_net2wider import grown
from tests.growth.test_operators import begun, logits
from tests.reference import Row, check_padding, logits_of, row_of

AMOUNTS = [3, 0, 6]
STARTS = pytest.mark.parametrize(("finished", "layer"), [(0, 0), (0, 1), (1, 0), (1, 1)])


def at_work(finished: int = 0, **options: Any) -> Learner:
    """Three rows that have trained; in a later task, with a few active units in both layers."""
    ours = begun(finished, **{"growth": "random", "minibatches": 6, **options})
    if finished:
        for layer in (1, 0):
            ours.grow(np.full(3, layer), np.array([5, 3, 9]))
            ours.train()
    ours.operator = options.get("growth", Firefly())
    return ours


def trained(ours: Learner, layer: int, amounts: Any = AMOUNTS) -> tuple[GrowthBatch, Candidates]:
    """Candidates after their training."""
    batch = ours.reserve(layer, np.array(amounts))
    with torch.enable_grad():
        candidates = Candidates.drawn(ours.network, batch)
        Firefly()._train(candidates, batch)
    return batch, candidates


def with_everything(ours: Learner, batch: GrowthBatch, candidates: Candidates, row: int) -> Row:
    """One row's network in which every candidate has been used, written down unit by unit."""
    layer, weights = candidates.layer, row_of(ours.network, row)
    old, amount, width = int(batch.first[row]), int(batch.amounts[row]), int(ours.network.frozen_units[row, layer])
    read = torch.from_numpy(np.flatnonzero(ours.network.birth_index(layer - 1)[row] >= 0)) if layer else slice(None)
    incoming, heard = weights.trained[layer], weights.trained[layer + 1]
    moved = candidates.moved.detach()[row][read]
    columns = [*(incoming[:, unit] + moved[:, unit] for unit in range(old))]
    columns += [*(incoming[:, unit] - moved[:, unit] for unit in range(old))]
    halves = heard[1 + width : 1 + width + old] / 2
    rows = [*heard[: 1 + width], *halves, *halves]
    for draw in range(DRAWS):
        for unit in range(amount):
            number = draw * batch.most + unit
            columns.append(candidates.fan_in.detach()[row][read][:, number])
            rows.append(candidates.fan_out.detach()[row, number, : heard.shape[1]])
    weights.trained[layer], weights.trained[layer + 1] = torch.stack(columns, dim=1), torch.stack(rows)
    return weights


def slow_loss(weights: Row, evidence: Evidence, row: int) -> float:
    output = logits_of(weights, evidence.x[row]) + evidence.loss.absent[row]  # type: ignore[attr-defined]
    labels = evidence.loss.labels[row]  # type: ignore[attr-defined]
    return float(torch.nn.functional.cross_entropy(output, labels))


@STARTS
def test_the_loss_with_all_candidates_is_that_of_the_network_with_all_of_them(finished: int, layer: int) -> None:
    ours = at_work(finished)
    batch, candidates = trained(ours, layer)
    evidence = ours.evidence(5)
    losses = candidates.loss(evidence).detach()
    for row in (0, 2):
        expected = slow_loss(with_everything(ours, batch, candidates, row), evidence, row)
        assert float(losses[row]) == pytest.approx(expected, abs=1e-10)


@STARTS
def test_scores_sum_to_what_all_candidates_together_change(finished: int, layer: int) -> None:
    ours = at_work(finished)
    _, candidates = trained(ours, layer)
    evidence = ours.evidence(5)
    scores = candidates.scores(evidence).sum(dim=1)
    change = candidates.loss(evidence).detach() - evidence.loss.value(evidence.logits)
    assert (change[[0, 2]] < -0.01).all()
    torch.testing.assert_close(scores[[0, 2]], change[[0, 2]], atol=0, rtol=0.1)
    assert scores[1] == change[1] == 0, "row 1 does not grow"


def test_a_score_is_the_slope_of_the_loss_as_its_gate_opens() -> None:
    """By finite differences at both nodes of the quadrature."""
    ours = at_work()
    _, candidates = trained(ours, 0)
    evidence = ours.evidence(5)
    scores = candidates.scores(evidence)
    active, step = candidates.moved.shape[2], 1e-6
    for number in (0, 3, active, active + 7):
        slopes = []
        for node in (0.5 - 12**-0.5, 0.5 + 12**-0.5):
            gates = torch.full((3, 1, scores.shape[1]), node, dtype=torch.float64)
            losses = []
            for sign in (1, -1):
                gates[:, :, number] = node + sign * step
                losses.append(candidates.loss(evidence, gates).detach())
            slopes.append((losses[0] - losses[1]) / (2 * step))
        torch.testing.assert_close(scores[:, number], (slopes[0] + slopes[1]) / 2, atol=1e-8, rtol=1e-5)


@STARTS
def test_candidates_start_small_and_only_where_a_row_has_them(finished: int, layer: int) -> None:
    ours = at_work(finished)
    batch = ours.reserve(layer, np.array(AMOUNTS))
    candidates, network = Candidates.drawn(ours.network, batch), ours.network
    frozen = network.layout.frozen[layer]
    older = torch.from_numpy(older_units(network, batch)[:, frozen:])
    older[1] = False
    read = torch.ones((3, candidates.moved.shape[1]), dtype=torch.bool)
    if layer:
        read = torch.from_numpy(network.birth_index(layer - 1) >= 0)
    expected = read[:, :, None] & older[:, None]
    assert torch.equal(candidates.moved != 0, expected), "biases are among what moves"
    moved = candidates.moved.detach()[expected]
    assert moved.abs().max() < SPLIT_WITHIN and moved.std() == pytest.approx(SPLIT_WITHIN / 3**0.5, rel=0.15)
    length = live_norms(network, batch, "in")
    for row, amount in enumerate(AMOUNTS):
        own = (torch.arange(batch.most) < amount).repeat(DRAWS)
        lengths = candidates.fan_in.detach()[row].norm(dim=0)
        torch.testing.assert_close(lengths, own.double() * length[row], atol=0, rtol=1e-9)
        assert torch.equal(candidates.fan_out.detach()[row].norm(dim=1) > 0, own)
        assert candidates.fan_out.detach()[row].abs().max() < 0.05
        assert len(torch.unique(candidates.fan_in.detach()[row].sum(dim=0)[own])) == DRAWS * amount


@STARTS
def test_training_lowers_the_loss_and_changes_nothing_but_candidates(finished: int, layer: int) -> None:
    ours = at_work(finished)
    weights = ours.network.buffers["weights"].clone()
    batch, candidates = trained(ours, layer)
    fresh = ours.evidence(30)
    drawn = Candidates.drawn(ours.network, batch)
    before, after = (each.loss(fresh).detach()[[0, 2]] for each in (drawn, candidates))
    assert (after < before - 0.01).all()
    unchanged = ours.network.layout.blocks(ours.network.buffers["weights"])
    assert torch.equal(torch.cat([block[block != 0] for block in unchanged]), weights[weights != 0])
    read = torch.ones((3, drawn.fan_in.shape[1], 1), dtype=torch.bool)
    if layer:
        read = torch.from_numpy(ours.network.birth_index(layer - 1) >= 0)[:, :, None]
    new = drawn.fan_in.detach().any(dim=1, keepdim=True)
    assert torch.equal(candidates.moved != 0, drawn.moved != 0), "padding stays zero"
    assert torch.equal(candidates.fan_in != 0, read & new), "biases start at zero, and learn"
    assert torch.equal((candidates.fan_out != 0).any(dim=2), new[:, 0])


def test_penalties_shrink_what_does_not_matter() -> None:
    """Nothing hears unit 0, so its perturbation has the gradient of its penalty only: Adam takes full steps down."""
    ours = at_work()
    ours.network.weights[1][:, ours.network.layout.frozen[0]] = 0.0
    batch, candidates = trained(ours, 0)
    drawn = Candidates.drawn(ours.network, batch)
    before, after = drawn.moved.detach()[0, :, 0].abs(), candidates.moved.detach()[0, :, 0].abs()
    large = before > 0.05
    assert large.sum() > 10 and (after < before - 0.04)[large].all()


def used(ours: Learner, layer: int, amounts: Any = AMOUNTS) -> tuple[GrowthBatch, Candidates, Tensor, Any]:
    """The candidates of a growth, their scores, and what the operator makes of them."""
    batch, candidates = trained(ours, layer, amounts)
    scores = candidates.scores(batch.probe(20))
    with torch.no_grad():
        return batch, candidates, scores, Firefly().propose(ours.network, batch)


@STARTS
def test_those_with_the_most_negative_scores_are_used(finished: int, layer: int) -> None:
    ours = at_work(finished)
    batch, candidates, scores, proposal = used(ours, layer)
    network, frozen, kinds = ours.network, ours.network.layout.frozen[layer], set()
    active = network.layout.active[layer]
    for row, amount in enumerate(AMOUNTS):
        own = [*range(int(batch.first[row]))]
        own += [active + draw * batch.most + unit for draw in range(DRAWS) for unit in range(amount)]
        best = sorted((float(scores[row, number]), number) for number in own)[:amount]
        incoming, outgoing = network.weights[layer][row].clone(), network.weights[layer + 1][row].clone()
        for unit, (score, number) in enumerate(best):
            assert score < 0
            kinds.add(number < active)
            parent = int(proposal.parents[row, unit])
            if number < active:
                assert (parent, float(proposal.shares[row, unit])) == (frozen + number, 0.5)
                moved = candidates.moved.detach()[row, :, number]
                expected = network.weights[layer][row, :, number] - moved
                incoming[:, number] += moved
                outgoing[frozen + number] /= 2
                heard = outgoing[frozen + number]
            else:
                assert parent == -1
                expected = candidates.fan_in.detach()[row, :, number - active]
                heard = candidates.fan_out.detach()[row, number - active]
            torch.testing.assert_close(proposal.fan_in[row, :, unit], expected, atol=1e-12, rtol=0)
            torch.testing.assert_close(proposal.fan_out[row, unit], heard, atol=1e-12, rtol=0)
        torch.testing.assert_close(proposal.incoming[row], incoming, atol=1e-12, rtol=0)
        torch.testing.assert_close(proposal.outgoing[row], outgoing, atol=1e-12, rtol=0)
    assert False in kinds


@pytest.mark.parametrize("layer", [0, 1])
def test_both_kinds_are_used(layer: int) -> None:
    """Once a network has learned for a while, splitting pays as well."""
    ours = begun(minibatches=60, hidden=(32, 32), max_hidden=(60, 60))
    _, _, _, proposal = used(ours, layer, [8, 8, 8])
    assert 0 < (proposal.parents >= 0).sum() < 24


@STARTS
def test_growth_goes_downhill_on_fresh_samples(finished: int, layer: int) -> None:
    ours = at_work(finished)
    known, probe = logits(ours)[:finished], ours.evidence(40, 512)
    before = probe.loss.value(probe.logits)
    grown(ours, layer, AMOUNTS)
    probe = ours.evidence(40, 512)
    change = probe.loss.value(probe.logits) - before
    assert change[[0, 2]].mean() < -0.02, "a single row may not, on samples that nobody has seen"
    assert abs(float(change[1])) < 1e-12
    assert torch.equal(logits(ours)[:finished], known), "finished tasks to the last bit"
    check_padding(ours.network)
    for _ in range(3):
        ours.train()
    check_padding(ours.network)


def test_there_are_always_enough_candidates() -> None:
    ours = at_work()
    grown(ours, 1, [30, 1, 36])
    network = ours.network
    for row, amount in enumerate([30, 1, 36]):
        weights = row_of(network, row).trained
        assert weights[1].shape[1] == 4 + amount
        assert weights[1].abs().sum(dim=0).all()


@pytest.mark.parametrize("finished", [1, 2])
def test_frozen_units_are_not_split_and_unheard_ones_start_at_random(finished: int) -> None:
    """At the beginning of a task there are no active units, so nothing hears what layer 0 adds."""
    ours, plain = begun(finished, growth="firefly"), begun(finished)
    for each in (ours, plain):
        each.grow(np.zeros(3, dtype=np.int64), np.array(AMOUNTS))
    for row in range(3):
        for one, two in zip(row_of(ours.network, row).parts(), row_of(plain.network, row).parts(), strict=True):
            assert torch.equal(one, two)
    _, proposal = grown(ours, 1, AMOUNTS)
    assert proposal.parents is not None and (proposal.parents == -1).all()
    assert proposal.fan_out is not None and proposal.fan_out[0, :3].any()


def test_every_minibatch_is_a_probe_batch_of_its_own() -> None:
    ours, asked = at_work(), []
    batch = ours.reserve(0, np.array(AMOUNTS))

    def probe(*arguments: int) -> Evidence:
        asked.append(arguments)
        return ours.evidence(*arguments)

    seen = GrowthBatch(0, batch.amounts, batch.seeds, batch.units, batch.first, batch.outputs, probe)
    Firefly(minibatches=3).propose(ours.network, seen)
    assert asked == [(0, 32), (1, 32), (2, 32), (3,)], "candidates are scored on samples that they did not see"


def test_a_longer_training_or_larger_steps_change_more() -> None:
    changes = []
    for options in ({"minibatches": 1}, {}, {"learning_rate": 0.002}):
        ours = at_work(growth=Firefly(**options))
        before = ours.evidence(40, 512)
        loss = before.loss.value(before.logits)
        grown(ours, 1, [4, 4, 4])
        after = ours.evidence(40, 512)
        changes.append(float((after.loss.value(after.logits) - loss).mean()))
    assert changes[1] < changes[0] < 0 and changes[1] < changes[2] < 0


@pytest.mark.parametrize("layer", [0, 1])
def test_a_row_proposes_the_same_among_others_and_alone(layer: int) -> None:
    together, fewer = at_work(), at_work()
    grown(together, layer, [3, 20, 6])
    grown(fewer, layer, [3, 0, 6])
    for row in (0, 2):
        for one, two in zip(row_of(together.network, row).parts(), row_of(fewer.network, row).parts(), strict=True):
            torch.testing.assert_close(one, two, atol=1e-9, rtol=0)


def test_a_row_that_has_diverged_harms_no_other() -> None:
    ours, sound = at_work(), at_work()
    ours.network.weights[0][1] = torch.nan
    for each in (ours, sound):
        each.grow(np.zeros(3, dtype=np.int64), np.array([3, 3, 6]))
    for row in (0, 2):
        for one, two in zip(row_of(ours.network, row).parts(), row_of(sound.network, row).parts(), strict=True):
            torch.testing.assert_close(one, two, atol=1e-12, rtol=0)


def test_growth_without_data_says_so() -> None:
    ours = at_work()
    batch = ours.reserve(0, np.array(AMOUNTS))
    blind = GrowthBatch(0, batch.amounts, batch.seeds, batch.units, batch.first, batch.outputs)
    assert RandomGrowth().propose(ours.network, blind).fan_in.any()
    with pytest.raises(RuntimeError, match="probe batch 0 was asked for, but this growth has no data"):
        Firefly().propose(ours.network, blind)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minibatches": 0}, "at least 1 minibatch, got 0"),
        ({"learning_rate": 0.0}, "learning rate of firefly must be above 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning rate of firefly must be above 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Firefly(**options)
