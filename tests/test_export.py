"""Exported networks compute what the engine computes, and files keep them bit for bit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from growenv import GrowthVectorEnv
from growenv.export import Layer, dense_network, read_nir, to_nir, write_nir
from growenv.learner import Learner
from tests.rollouts import SMALL, TASKS, context, learner

nir = pytest.importorskip("nir")


def grown(protection: str = "freeze", dtype: torch.dtype = torch.float64, **options: Any) -> Learner:
    """Three rows in their second, third and first task that grew in each, every row by other numbers of units."""
    made = learner(rows=3, tasks=4, dtype=dtype, protection=protection, **options)
    contexts = [context(TASKS[row : row + 4 - row], inner_seed=row) for row in range(3)]
    made.begin(np.ones(3, dtype=bool), contexts)
    depth = len(made.config.hidden)
    for step in range(3):
        made.train()
        for layer in range(depth):
            made.grow(np.full(3, layer), np.array([3, step, 9 * (layer == 0)]))
        made.train()
        onwards = np.array([step < 1, step < 2, False])
        made.next_task(onwards)
    made.grow(np.full(3, depth - 1), np.array([2, 0, 1]))
    made.train()
    return made


def relu_network(layers: list[Layer], x: NDArray[Any]) -> NDArray[Any]:
    """Logits of the layers for samples of shape (V, D)."""
    for weight, bias in layers[:-1]:
        x = np.maximum(x @ weight.T + bias, 0)
    return x @ layers[-1].weight.T + layers[-1].bias


def compare(made: Learner, layers: list[Layer], row: int, task: int, tolerance: float) -> None:
    """The layers against the engine, on inner-test samples of the task."""
    wanted = made.task.copy()
    wanted[row] = task
    samples, _, _ = made.data.evaluation_set("test", wanted)
    x = made.data.gather(samples)
    logits = made.logits(x, wanted)[row].cpu().numpy()
    given = relu_network(layers, x[row, :, :-1].numpy())
    classes = int(made.data.task_classes[row, task])
    assert given.shape == (len(logits), classes)
    assert np.ptp(given) > 0.1
    np.testing.assert_allclose(given, logits[:, :classes], atol=tolerance, rtol=0)


BEGUN = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0)]


@pytest.mark.parametrize("protection", ["freeze", "finetune"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("hidden", [(5, 4), (6,), (3, 4, 5)])
def test_finished_and_current_tasks_compute_what_the_engine_computes(
    protection: str, dtype: torch.dtype, tolerance: float, hidden: tuple[int, ...]
) -> None:
    made = grown(protection, dtype, hidden=hidden, max_hidden=(40,) * len(hidden))
    for row, task in BEGUN:
        layers = dense_network(made, row, task)
        assert {array.dtype for layer in layers for array in layer} == {np.dtype(str(dtype).removeprefix("torch."))}
        compare(made, layers, row, task, tolerance)


@pytest.mark.parametrize("protection", ["freeze", "finetune"])
def test_files_keep_every_bit(protection: str, tmp_path: Path) -> None:
    made = grown(protection, torch.float32)
    for row, task in BEGUN:
        layers = dense_network(made, row, task)
        write_nir(tmp_path / "network.nir", layers)
        read = read_nir(tmp_path / "network.nir")
        assert len(read) == len(layers) == 3
        for one, two in zip(read, layers, strict=True):
            for given, expected in zip(one, two, strict=True):
                assert given.dtype == expected.dtype
                assert np.array_equal(given, expected)
        compare(made, read, row, task, 1e-5)


def test_units_that_a_task_cannot_read_are_left_out() -> None:
    made = grown("freeze")
    # Row 0: 5 and 4 units, 3 more of each in task 0, then in task 1 twice 3 more, and 2 more in the last layer.
    assert [layer.weight.shape for layer in dense_network(made, 0, 0)] == [(8, 64), (7, 8), (3, 7)]
    assert [layer.weight.shape for layer in dense_network(made, 0, 1)] == [(14, 64), (15, 14), (2, 15)]
    # Without protection old units of the last layer read new ones of the first.
    other = grown("finetune")
    assert [layer.weight.shape for layer in dense_network(other, 0, 0)] == [(14, 64), (7, 14), (3, 7)]


def test_finished_tasks_export_the_same_network_whatever_grows_later() -> None:
    made = grown("freeze")
    before = dense_network(made, 0, 0)
    made.grow(np.zeros(3, dtype=np.int64), np.full(3, 4))
    made.train()
    made.next_task(np.array([True, False, False]))
    for one, two in zip(dense_network(made, 0, 0), before, strict=True):
        assert np.array_equal(one.bias, two.bias)
        assert np.array_equal(one.weight, two.weight)


def test_what_is_exported_is_a_copy() -> None:
    made = grown()
    first = dense_network(made, 0, 1)
    for layer in first:
        layer.weight[:], layer.bias[:] = 7, 7
    compare(made, dense_network(made, 0, 1), 0, 1, 1e-12)


def test_the_network_of_an_environment_after_its_stream() -> None:
    env = GrowthVectorEnv(2, autoreset_mode="DISABLED", streams="permuted", **SMALL)
    env.reset(seed=0)
    for action in (1, 3, 2, 4):
        env.step(np.full(2, action))
    for task in (0, 1):
        compare(env.learner, dense_network(env.learner, 1, task), 1, task, 1e-5)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "task", "message"),
    [
        (3, 0, "row is 3, expected one of the learner's rows 0..2"),
        (-1, 0, "row is -1"),
        (0, 2, "task is 2, expected a task that row 0 has begun, 0..1"),
        (0, -1, "task is -1"),
    ],
)
def test_a_network_that_does_not_exist(row: int, task: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dense_network(grown(), row, task)


def test_a_row_that_has_not_begun() -> None:
    with pytest.raises(ValueError, match="row 1 has not begun a stream .*reset the environment first"):
        dense_network(learner(rows=2), 1, 0)


def test_without_nir_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "nir", None)
    layers = dense_network(grown(), 0, 0)  # needs no nir
    path = tmp_path / "network.nir"
    for call in (lambda: to_nir(layers), lambda: write_nir(path, layers), lambda: read_nir(path)):
        with pytest.raises(ImportError, match=r"pip install 'growenv\[nir\]'"):
            call()
    assert not path.exists()


# --- NIR --------------------------------------------------------------------------------------------------------------

SMALLEST = [
    Layer(np.array([[1.0, -1.0], [0.5, 2.0], [0.0, 1.0]]), np.array([0.25, -0.5, 0.0])),
    Layer(np.array([[1.0, 2.0, -1.0]]), np.array([0.125])),
]


def test_the_graph_is_a_chain_by_hand() -> None:
    graph = to_nir(SMALLEST)
    names = ["input", "affine", "if", "affine_1", "output"]
    assert list(graph.nodes) == names
    assert graph.edges == list(zip(names, names[1:], strict=False))
    assert [type(node) for node in graph.nodes.values()] == [nir.Input, nir.Affine, nir.IF, nir.Affine, nir.Output]
    assert graph.input_type["input"].tolist() == [2]
    assert graph.output_type["output"].tolist() == [1]
    neurons = graph.nodes["if"]
    assert (neurons.r.tolist(), neurons.v_threshold.tolist(), neurons.v_reset.tolist()) == ([1] * 3, [1] * 3, [0] * 3)
    np.testing.assert_array_equal(graph.nodes["affine_1"].weight, [[1.0, 2.0, -1.0]])


def test_spike_rates_stand_for_activations() -> None:
    """A simulation of NIR's equations: with one hidden layer the averaged output tends to the logits."""
    graph, x, step, steps = to_nir(SMALLEST), np.array([0.75, 0.5]), 2.0**-9, 2**15
    neurons, first, last = (graph.nodes[name] for name in ("if", "affine", "affine_1"))
    voltage, spikes = np.zeros(3), np.zeros(3)
    for _ in range(steps):
        voltage += step * neurons.r * (first.weight @ x + first.bias)
        fired = voltage > neurons.v_threshold
        voltage[fired] = neurons.v_reset[fired]
        spikes += fired
    rates = spikes / (steps * step)
    np.testing.assert_allclose(rates, [0.5, 0.875, 0.5], atol=0.03)
    np.testing.assert_allclose(last.weight @ rates + last.bias, relu_network(SMALLEST, x[None])[0], atol=0.1)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "layers: expected at least one layer"),
        ([Layer(np.ones(3), np.ones(3))], r"layer 0 has weight \(3,\) and bias \(3,\)"),
        ([Layer(np.ones((3, 2)), np.ones(2))], r"layer 0 has weight \(3, 2\) and bias \(2,\)"),
        ([SMALLEST[1], SMALLEST[1]], r"layer 1 has weight \(1, 3\) and bias \(1,\) and is given \(1,\) values"),
    ],
)
def test_layers_that_are_no_network(layers: list[Layer], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_nir(tmp_path / "network.nir", layers)
    assert not list(tmp_path.iterdir())


def affine() -> Any:
    return nir.Affine(weight=np.ones((2, 2)), bias=np.ones(2))


def neurons(threshold: float = 1.0, reset: float = 0.0, resistance: float = 1.0) -> Any:
    ones = np.ones(2)
    return nir.IF(r=ones * resistance, v_threshold=ones * threshold, v_reset=ones * reset)


def branching() -> Any:
    nodes = {"input": nir.Input(np.array([2])), "a": affine(), "b": affine(), "output": nir.Output(np.array([2]))}
    edges = [("input", "a"), ("input", "b"), ("a", "output"), ("b", "output")]
    return nir.NIRGraph(nodes=nodes, edges=edges)


FOREIGN = {
    "linear": (lambda: nir.NIRGraph.from_list(nir.Linear(weight=np.ones((2, 2)))), "Input -> Linear -> Output"),
    "no neurons": (lambda: nir.NIRGraph.from_list(affine(), affine()), "Input -> Affine -> Affine -> Output"),
    "neurons last": (lambda: nir.NIRGraph.from_list(affine(), neurons()), "Input -> Affine -> IF -> Output"),
    "threshold": (lambda: nir.NIRGraph.from_list(affine(), neurons(2.0), affine()), "other than r = 1"),
    "reset": (lambda: nir.NIRGraph.from_list(affine(), neurons(1.0, 0.5), affine()), "other than r = 1"),
    "resistance": (lambda: nir.NIRGraph.from_list(affine(), neurons(1.0, 0.0, 2.0), affine()), "other than r = 1"),
    "branches": (branching, "4 nodes and 4 edges that are no chain"),
    "no graph": (affine, "no NIR graph that can be read"),
}


@pytest.mark.parametrize(("make", "message"), FOREIGN.values(), ids=FOREIGN)
def test_files_with_another_network(make: Any, message: str, tmp_path: Path) -> None:
    nir.write(tmp_path / "other.nir", make())
    with pytest.raises(ValueError, match=f"other.nir holds.*{message}"):
        read_nir(tmp_path / "other.nir")


def test_files_that_are_no_nir_graph(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with pytest.raises(OSError, match="missing"):
        read_nir(tmp_path / "missing.nir")
    (tmp_path / "text.nir").write_text("no HDF5")
    with pytest.raises(OSError, match="file signature not found"):
        read_nir(tmp_path / "text.nir")
    with h5py.File(tmp_path / "empty.nir", "w"):
        pass
    with pytest.raises(ValueError, match="empty.nir holds no NIR graph that can be read"):
        read_nir(tmp_path / "empty.nir")
    with h5py.File(tmp_path / "strange.nir", "w") as file:
        file["node/type"] = "Anything"
    with pytest.raises(ValueError, match="strange.nir holds no NIR graph that can be read"):
        read_nir(tmp_path / "strange.nir")
