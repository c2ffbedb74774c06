"""A row's network as plain matrices, and as a NIR file that neuromorphic simulators and chips read.

Usage::

    layers = dense_network(env.learner, row=0, task=2)
    write_nir("network.nir", layers)

NIR is the Neuromorphic Intermediate Representation (Pedersen et al. 2024, doi 10.1038/s41467-024-52259-9). Writing and
reading it needs the package ``nir``, an optional extra; the matrices do not.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from growenv.learner import Learner
from growenv.networks.frozen import complete


class Layer(NamedTuple):
    """One affine map; hidden layers apply a ReLU to what comes out.

    Attributes:
        weight: shape (out, in), float32 or float64.
        bias: shape (out,), same type.
    """

    weight: NDArray[Any]
    bias: NDArray[Any]


@torch.no_grad()
def dense_network(learner: Learner, row: int, task: int) -> list[Layer]:
    """One row's network as one of its tasks sees it: ``x = relu(weight @ x + bias)`` layer by layer, the last plain.

    It computes what `Learner.logits` does. Frozen and active units lie side by side in the order in which they grew,
    and biases are taken from the constant unit. Its inputs are normalised samples, ``(inputs - shift) * scale`` of the
    data set, with the pixels in the data set's own order: the task's permutation and quarter turns are in the weights.
    Only the rest of a rotation, below a quarter turn, is still to be done to the samples (`Dataset.bank`). Output k
    stands for the k-th class of the task.

    Units that the task cannot read are left out. Under a protection that is `directed` these are all that grew later.
    Otherwise older units read newer ones of the layer below, and only those of the last layer are left out.

    Wires around a hidden layer become rows of the identity below the rows of its units, with biases of zero: a ReLU
    does nothing to what wires bring. A hidden layer of which the task reads no unit is left out altogether.

    Args:
        learner: the networks, for example ``GrowthVectorEnv.learner``. Rows that begin the next stream at once have
            lost the network of the last one; build the environment with ``autoreset_mode="DISABLED"``.
        row: which network.
        task: a task of that row, finished or current; its head is used.

    Returns:
        The hidden layers and the head, copies in the type that the learner computes in.

    Raises:
        ValueError: no such row, or a task that the row has not begun.
    """
    _check_place(learner, row, task)
    network, read = learner.network, _units_read(learner, row, task)
    below = _input_order(learner, row, task)
    layers, constant = [], network.inputs
    for number in range(network.depth):
        whole = complete(network.layout, number, network.frozen[number], network.weights[number])[row]
        born = network.birth_index(number)[row]
        units = np.flatnonzero((born > 0) & (born <= read[number]))
        brought = below if number in network.bypassed else below[:0]
        if len(units) or not len(brought):
            own = _layer(whole[:, torch.from_numpy(units)], below, constant)
            wires = np.eye(len(brought), len(below), dtype=own.weight.dtype)
            layers.append(
                Layer(np.concatenate((own.weight, wires)), np.append(own.bias, np.zeros(len(brought), own.bias.dtype)))
            )
        below, constant = np.concatenate((units, len(born) + brought)), 0
    head = network.weights[-1][row] if task == learner.task[row] else learner.heads.kept[row, task]
    if task < learner.task[row]:  # kept by birth index
        below = learner.heads.read()[row][below]
    classes = int(learner.data.task_classes[row, task])
    return [*layers, _layer(head[:, :classes], below, 0)]


def _check_place(learner: Learner, row: int, task: int) -> None:
    if not 0 <= row < learner.rows:
        raise ValueError(f"row is {row}, expected one of the learner's rows 0..{learner.rows - 1}")
    if not learner.units[row].any():
        raise ValueError(f"row {row} has not begun a stream and has no network; reset the environment first")
    if not 0 <= task <= learner.task[row]:
        raise ValueError(f"task is {task}, expected a task that row {row} has begun, 0..{learner.task[row]}")


def _units_read(learner: Learner, row: int, task: int) -> NDArray[np.int64]:
    """How many units of each layer, the oldest ones, the task's logits depend on, (L,)."""
    so_far = learner.units[row].cumsum(axis=0)
    read: NDArray[np.int64] = so_far[task].copy()
    if not learner.protection.directed:
        read[:-1] = so_far[-1, :-1]
    return read


def _input_order(learner: Learner, row: int, task: int) -> NDArray[np.int64]:
    """Where the weights from each pixel of the data set lie among those into the first layer, (D,)."""
    wanted = learner.task.copy()
    wanted[row] = task
    order: NDArray[np.int64] = learner.data.order(learner.task, wanted)[row, :-1].cpu().numpy()
    return order


def _layer(weights: torch.Tensor, below: NDArray[np.int64], constant: int) -> Layer:
    """The weights from some units below and from the constant one; `weights` has shape (in, out)."""
    numbers = weights.cpu().numpy()
    return Layer(np.ascontiguousarray(numbers[below].T), numbers[constant].copy())


# -- NIR ---------------------------------------------------------------------------------------------------------------


def to_nir(layers: Sequence[Layer]) -> Any:
    """The network as a `nir.NIRGraph`: Input -> Affine -> IF -> ... -> Affine -> Output.

    Every ReLU becomes a layer of integrate-and-fire neurons (``IF``) with resistance 1, threshold 1 and reset to 0,
    which is its rate-coded counterpart: a constant input current a makes such a neuron fire max(0, a) spikes per unit
    of time (Cao et al. 2015, doi 10.1007/s11263-014-0788-3). Biases are constant currents. The last map stays Affine;
    its output averaged over time stands for the logits.

    With one hidden layer the averages tend to the logits. Further layers are driven by spikes, and what a spike lifts
    above the threshold is lost in the reset, so their rates are too low; simulators that subtract the threshold instead
    lose nothing (Rueckauer et al. 2017, doi 10.3389/fnins.2017.00682). A simulator with time steps fires at most once a
    step, so its step must be well below 1 / (the greatest activation).

    Args:
        layers: the hidden layers and the head, as `dense_network` returns them.

    Raises:
        ImportError: the package ``nir`` is not installed.
        ValueError: no layers, or layers whose sizes do not fit together.
    """
    nir = _nir()
    _check_chain(layers, "layers")
    nodes = [nir.Input(input_type={"input": np.array([layers[0].weight.shape[1]])})]
    for weight, bias in layers[:-1]:
        ones = np.ones_like(bias)
        nodes += [nir.Affine(weight=weight, bias=bias)]
        nodes += [nir.IF(r=ones, v_threshold=ones.copy(), v_reset=np.zeros_like(bias))]
    nodes += [nir.Affine(weight=layers[-1].weight, bias=layers[-1].bias)]
    nodes += [nir.Output(output_type={"output": np.array([len(layers[-1].bias)])})]
    return nir.NIRGraph.from_list(*nodes)


def write_nir(path: str | Path, layers: Sequence[Layer]) -> None:
    """Write the network of `to_nir` to a NIR file (HDF5); a file of that name is replaced.

    Raises:
        ImportError: the package ``nir`` is not installed.
        ValueError: as in `to_nir`.
        OSError: the file cannot be written.
    """
    _nir().write(Path(path), to_nir(layers))


def read_nir(path: str | Path) -> list[Layer]:
    """The layers of a file that `write_nir` wrote, bit for bit.

    Args:
        path: a NIR file with a chain Input -> Affine -> IF -> ... -> Affine -> Output whose IF neurons have resistance
            1, threshold 1 and reset to 0.

    Raises:
        ImportError: the package ``nir`` is not installed.
        OSError: there is no such file, or it is no HDF5 file.
        ValueError: it holds another network; the message says what was found.
    """
    nir = _nir()
    try:
        graph = nir.read(Path(path))
    except (KeyError, AssertionError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} holds no NIR graph that can be read ({type(error).__name__}: {error})") from error
    nodes = _chain(graph, path)
    kinds = [type(node).__name__ for node in nodes]
    expected = ["Input", *["Affine", "IF"] * max(0, (len(nodes) - 3) // 2), "Affine", "Output"]
    if kinds != expected:
        raise ValueError(
            f"{path} holds the chain {' -> '.join(kinds)}; expected Input -> Affine -> IF -> ... -> Affine -> Output"
        )
    for node in nodes[2:-2:2]:
        if not ((node.r == 1).all() and (node.v_threshold == 1).all() and (node.v_reset == 0).all()):
            raise ValueError(f"{path} holds IF neurons other than r = 1, v_threshold = 1, v_reset = 0")
    layers = [Layer(node.weight, node.bias) for node in nodes[1:-1:2]]
    _check_chain(layers, str(path))
    return layers


def _chain(graph: Any, path: str | Path) -> list[Any]:
    """The nodes of a graph in the order in which its edges pass through them."""
    following = dict(graph.edges)
    names = [name for name in graph.nodes if name not in set(following.values())][:1]
    while names and names[-1] in following and len(names) <= len(graph.nodes):
        names.append(following[names[-1]])
    if len(following) != len(graph.edges) or sorted(names) != sorted(graph.nodes):
        raise ValueError(
            f"{path} holds {len(graph.nodes)} nodes and {len(graph.edges)} edges that are no chain; "
            "expected Input -> Affine -> IF -> ... -> Affine -> Output"
        )
    return [graph.nodes[name] for name in names]


def _check_chain(layers: Sequence[Layer], where: str) -> None:
    if not layers:
        raise ValueError(f"{where}: expected at least one layer")
    values = np.shape(layers[0].weight)[-1:]
    for number, (weight, bias) in enumerate(layers):
        if np.ndim(weight) != 2 or np.shape(bias) != np.shape(weight)[:1] or np.shape(weight)[1:] != values:
            raise ValueError(
                f"{where}: layer {number} has weight {np.shape(weight)} and bias {np.shape(bias)} and is given "
                f"{values} values; expected (out, in), (out,) and (in,)"
            )
        values = np.shape(bias)


def _nir() -> Any:
    try:
        return importlib.import_module("nir")
    except ImportError as error:
        raise ImportError("NIR files need the package nir, an optional extra; pip install 'growenv[nir]'") from error
