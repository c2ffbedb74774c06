"""The benchmark of growth paths times equal work: an independent implementation gives the same networks."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.growth_paths import report
from benchmarks.path_environments import stepping
from benchmarks.path_training import PARTS, Job, Walk, compared, product_calls, projected
from benchmarks.plain_paths import ADAMS, HE, PlainNetwork, Samples, he_vectors
from growenv.networks import StackedMLP
from growenv.paths import PathProblem
from growenv.paths.training import PathTraining
from growenv.randomness import Purpose, integers, normal
from tests.paths.tables import problem, worked_table
from tests.reference import row_of

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
try:
    import growth_paths_speed
finally:
    sys.path.pop(0)

BATCH, MINIBATCHES, AMOUNT = 16, 6, 3
PATHS = np.array([[1, 2, 1, 0, 2, 1], [1, 2, 2, 1, 1, 0], [0, 2, 1, 1, 1, 2]])


def small_problem() -> PathProblem:
    """The report's experiment on digits, five growth steps and a wait."""
    config = problem((3, 2), 1, 2, precision="float64", loss="squared-error", learning_rate=5e-3).config
    sizes = {"hidden": (4, 5), "max_hidden": (13, 11), "amounts": (AMOUNT,)}
    config = replace(config, **sizes, batch_size=BATCH, minibatches=MINIBATCHES, growth="random")  # type: ignore[arg-type]
    return PathProblem(config, (3, 2), 1, (7, 11))


def plain_copy(network: StackedMLP, row: int, rate: float, adam: str) -> PlainNetwork:
    """A plain network with the weights of one row."""
    blocks = row_of(network, row).trained
    sizes = (network.inputs, *(block.shape[1] for block in blocks))
    plain = PlainNetwork(sizes, rate, network.dtype, adam)
    with torch.no_grad():
        for layer, block in enumerate(blocks):  # the constant input is the last one, the constant unit the first
            weight, bias = (block[:-1], block[-1]) if layer == 0 else (block[1:], block[0])
            plain.linear(layer).weight.copy_(weight.T)
            plain.linear(layer).bias.copy_(bias)
    return plain


def new_vectors(seed: int, layer: int, old: int, fan_in: int) -> Tensor:
    """Random growth from its definition: normal numbers by neuron and by what it reads, brought to He's length."""
    read = np.arange(fan_in) + (layer > 0)  # unit 0 of a hidden layer is the constant one
    vectors = [normal(seed, Purpose.GROWTH, layer, old + neuron, read) for neuron in range(AMOUNT)]
    return torch.from_numpy(np.stack([HE * vector / np.linalg.norm(vector) for vector in vectors]))


def minibatch(samples: Samples, seed: int, number: int) -> tuple[Tensor, Tensor]:
    """A trial's minibatch from its definition."""
    drawn = torch.from_numpy(integers(len(samples.targets), seed, Purpose.MINIBATCH, number, np.arange(BATCH)))
    return samples.inputs["train"][drawn], samples.targets[drawn]


@pytest.fixture(scope="module")
def walked() -> tuple[PathProblem, StackedMLP, dict[tuple[int, int], Tensor]]:
    """A problem, its roots, and the logits of validation samples by trial and node."""
    wanted = small_problem()
    training, x = PathTraining(wanted), Samples(wanted).inputs["validation"]
    seen = torch.cat((x, torch.ones(len(x), 1, dtype=x.dtype)), dim=1)
    ends, logits = wanted.lattice.follow(PATHS)[:, -1], {}
    for front in training.walk(ends, [0, 1], most_rows=4):
        found = front.network.forward(seen.expand(len(front), -1, -1))
        logits.update(
            {(int(t), int(n)): each.clone() for t, n, each in zip(front.trials, front.nodes, found, strict=True)}
        )
    return wanted, training.roots().network, logits


@pytest.mark.parametrize("adam", ADAMS)
def test_plain_pytorch_gives_the_same_logits_after_every_growth_step(
    adam: str, walked: tuple[PathProblem, StackedMLP, dict[tuple[int, int], Tensor]]
) -> None:
    wanted, roots, logits = walked
    samples, lattice, compared_nodes = Samples(wanted), wanted.lattice, set()
    for trial, seed in enumerate(wanted.trials):
        batches = [minibatch(samples, seed, number) for number in range(lattice.horizon * MINIBATCHES)]
        for path in PATHS:
            plain = plain_copy(roots, trial, wanted.config.learning_rate, adam)
            for decision, (action, node) in enumerate(zip(path, lattice.follow(path)[1:], strict=True)):
                if action:
                    linear = plain.linear(action - 1)
                    plain.grow(action - 1, new_vectors(seed, action - 1, linear.out_features, linear.in_features))
                for batch in batches[decision * MINIBATCHES : (decision + 1) * MINIBATCHES]:
                    plain.step(*batch)
                with torch.no_grad():
                    apart = (plain.network(samples.inputs["validation"]) - logits[trial, int(node)]).abs().max()
                assert apart < 1e-9
                compared_nodes.add((trial, int(node)))
    assert len(compared_nodes) == len(logits) - len(wanted.trials)  # all but the roots


def test_a_plain_network_that_has_not_trained_grows_without_a_change() -> None:
    torch.manual_seed(0)
    plain, x = PlainNetwork((6, 4, 3, 2), 1e-3, torch.float64), torch.randn(9, 6, dtype=torch.float64)
    before = plain.network(x)
    plain.grow(0, he_vectors(2, 6, torch.float64))
    plain.grow(1, he_vectors(5, 6, torch.float64))
    assert (plain.network(x) - before).abs().max() < 1e-12
    assert [plain.linear(layer).weight.shape for layer in range(3)] == [(6, 6), (8, 6), (2, 8)]
    assert plain.linear(1).weight[3:].norm(dim=1).tolist() == pytest.approx([HE] * 5)
    plain.step(x, torch.zeros(9, 2, dtype=torch.float64))
    assert len(plain.optimizer.state) == 6


def test_a_walk_without_sharing_pays_for_every_node_of_every_path() -> None:
    job = small_job(np.array([[1, 2, 1, 0, 2, 1], [1, 2, 2, 1, 1, 0]]), rows=1)
    walk = Walk.of(job)
    shared, single = [1, 2], 4  # two decisions in common, then four on each path
    assert len(walk.nodes) == len(shared) + 2 * single
    walk.spent["training"][walk.nodes] = job.problem.work[walk.nodes]
    work = job.problem.work[job.problem.lattice.follow(job.problem.lattice.path(job.ends))[:, 1:]]
    assert walk.without_sharing() == pytest.approx(work.sum())
    assert sum(walk.training.layouts.values()) == len(shared) + 2 * single
    assert walk.products(1) > 0


def test_shared_nodes_in_stacks_of_few_rows_do_not_count_as_gained_by_sharing() -> None:
    job = small_job(np.array([[1, 2, 1, 0, 2, 1], [1, 2, 2, 1, 1, 0]]))
    walk = Walk.of(job)
    ends = walk.training.company == 2  # both paths end in one stack, and are alone elsewhere
    assert np.flatnonzero(ends).tolist() == sorted(job.ends.tolist())
    walk.spent["training"][walk.nodes] = np.where(ends, 1.0, 50.0)[walk.nodes]
    assert walk.without_sharing() == 2 * job.problem.lattice.horizon


def test_seconds_of_training_stand_for_all_minibatches() -> None:
    job = small_job(np.array([[1, 2, 1, 0, 2, 1]]), minibatches=2)
    walk = Walk.of(job)
    assert job.times == MINIBATCHES / 2
    assert walk.spent["training"].sum() == pytest.approx(3 * walk.training.spent["training"].sum())
    assert walk.spent["growth"].sum() == walk.training.spent["growth"].sum()
    assert walk.seconds[0] > sum(walk.spent[part].sum() for part in PARTS)


def test_products_are_those_of_a_dense_network() -> None:
    walk = Walk.of(small_job(np.array([[1, 2, 1, 0, 2, 1]])))
    layout = next(iter(walk.training.layouts))
    shapes = [(tuple(left.shape), tuple(out.shape)) for left, _, out in product_calls(layout, BATCH, torch.float64)]
    assert len(shapes) == 3 * 3 - 1  # forward, weights and below, but nothing below the inputs
    assert shapes[0][0] == (1, BATCH, 65)
    assert shapes[1] == ((1, 65, BATCH), (1, 65, layout.active[0]))


def test_every_figure_is_measured_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = np.array([[1, 2, 1, 0, 2, 1], [1, 2, 2, 1, 1, 0], [1, 2, 2, 1, 0, 1]])
    job = small_job(paths)
    line = compared(job, plain=2, repeats=1)
    assert (line["paths"], line["decisions"], line["nodes"]) == (3, 18, 12)
    times = line["times_faster"]
    assert times["training"] == pytest.approx(times["by_stacks"] * times["by_sharing"])
    assert set(line["plain"]["parts"]) == set(line["walk"]["parts"]) == set(PARTS)
    everything = projected(job, 1)
    assert everything["all_paths"] == job.problem.lattice.paths
    worked_table().save(tmp_path / "table.npz")
    speed = stepping(str(tmp_path / "table.npz"), 4, 3)
    assert speed["processor"] > 0
    rows = {"rows": 4, "steps_per_second": speed["processor"], "two_processes": 2e6}
    results = {
        "machine": {"torch": "2", "load_before": 0.0},
        "repeats": 1,
        "training": {"dataset": "mnist", "sample": line, "table": line, "all": {"random": everything}, "trials": 5},
        "environment": {"table": "digits", "rows": [rows], "first_step": {"processor": 1.5, "wall": 2.5}},
    }
    text = report(results)
    assert "3 paths, 18 decisions, 12 of them different" in text
    assert "1.50 s processor, 2.50 s wall" in text
    path = tmp_path / "growth_paths.json"
    monkeypatch.setattr(growth_paths_speed, "RESULTS", path)
    assert growth_paths_speed.path_speed() == "not run yet: `python benchmarks/growth_paths.py`"
    path.write_text(json.dumps(results))
    block = growth_paths_speed.path_speed()
    assert f"| **times faster** | **{times['whole']:.1f}** |" in block
    assert "| 3; 18; 12 |" in block
    assert "2,000,000" in block


def small_job(paths: NDArray[np.int64], minibatches: int = MINIBATCHES, rows: int = 8) -> Job:
    """Some paths of the small problem."""
    wanted = small_problem()
    return Job(wanted, wanted.lattice.follow(paths)[:, -1], rows, False, minibatches)
