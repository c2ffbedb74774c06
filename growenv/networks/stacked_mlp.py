"""N growing multi-layer perceptrons as stacked tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks.frozen import complete, oldest, places, rearranged, spread
from growenv.networks.layout import Layout, copy_first, each_sample, round_up, take, with_wires

LEVEL = 1 << 20
"""More units than any layer has."""
_relu_backward = torch.ops.aten.threshold_backward.grad_input


class StackedMLP:
    """N ReLU networks of different widths, trained in lock-step.

    Every hidden layer has *frozen* units, which never change again and read frozen units only, and *active* units,
    which train and read both kinds. Frozen unit 0 is a constant one: its outgoing weights are the biases. Units keep
    the order in which they were born; a unit's *birth index* is 0 for the constant unit, then counts frozen and active
    units. Widths are allocated for the widest row and everything beyond a row's own units is exactly zero: it computes
    zero, gets zero gradient and so stays zero.

    Wires may lead around hidden layers: whoever reads such a layer also reads what the layer reads, unchanged, so the
    layer may have no units at all.

    All trainable numbers lie in flat buffers (`buffers`), one for each quantity that follows the weights: the weights
    themselves, an optimiser's moments, a protection's importances. Whatever changes shapes treats them all alike.

    Args:
        rows: number of networks N.
        inputs: input values D, without the constant one that the network's input tensors carry as their last value.
        hidden_layers: number of hidden layers L.
        classes: outputs of the head.
        bypassed: hidden layers around which wires lead; never layer 0.
        dtype: float32, or float64 for reference computations.
        device: where the tensors live.
    """

    def __init__(
        self,
        rows: int,
        inputs: int,
        hidden_layers: int,
        classes: int,
        *,
        bypassed: tuple[int, ...] = (),
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.rows, self.inputs, self.depth, self.classes = rows, inputs, hidden_layers, classes
        self.bypassed, self.dtype, self.device = bypassed, dtype, torch.device(device)
        self.frozen_units: NDArray[np.int64] = np.zeros((rows, hidden_layers), dtype=np.int64)
        self.active_units: NDArray[np.int64] = np.zeros((rows, hidden_layers), dtype=np.int64)
        self.layout = self._fitting_layout()
        self.buffers: dict[str, Tensor] = {"weights": self._zeros(self.layout.size)}
        self.degrees: dict[str, int] = {}
        self.frozen = [self._zeros(*shape) for shape in self._frozen_shapes(self.layout)]
        self._set_constants()
        self._refresh()

    # -- shapes ------------------------------------------------------------------------------------------------------

    @property
    def widths(self) -> NDArray[np.int64]:
        """Live units of each hidden layer without the constant unit, shape (N, L)."""
        return self.frozen_units + self.active_units

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self.dtype, device=self.device)

    def _fitting_layout(self) -> Layout:
        frozen = tuple(round_up(1 + int(n)) for n in self.frozen_units.max(axis=0))
        active = tuple(round_up(int(n)) for n in self.active_units.max(axis=0))
        return Layout(self.rows, self.inputs + 1, frozen, active, self.classes, self.bypassed)

    def _frozen_shapes(self, layout: Layout) -> list[tuple[int, int, int]]:
        return [(self.rows, layout.frozen_in(layer), fan_out) for layer, fan_out in enumerate(layout.frozen)]

    def _set_constants(self) -> None:
        """Make frozen unit 0 of every layer compute one: it reads only the constant below it."""
        for layer, weight in enumerate(self.frozen):
            weight[:, :, 0] = 0.0
            weight[:, -1 if layer == 0 else 0, 0] = 1.0

    def _refresh(self) -> None:
        """Rebuild the views and work space that depend on the layout."""
        self.weights = self.layout.blocks(self.buffers["weights"])
        self.gradient = self._zeros(self.layout.size)
        self.gradients = self.layout.blocks(self.gradient)
        self._space: dict[int, dict[str, list[Tensor]]] = {}
        shapes = [(self.layout.fan_in(layer), self._split(layer)) for layer in range(self.depth)]
        self._joined = [self._zeros(self.rows, fan_in, f + a) for fan_in, (f, a) in shapes]
        self._joined_active = [whole[:, :, f:] for whole, (_, (f, _)) in zip(self._joined, shapes, strict=True)]
        self._joined_from = [(weight, -1) for weight in self.frozen]

    def _split(self, layer: int) -> tuple[int, int]:
        return self.layout.frozen[layer], self.layout.active[layer]

    def fit(self) -> None:
        """Allocate for the widest live row, no more and no less; called whenever units came or went."""
        layout, before = self._fitting_layout(), self.layout
        if layout == before:
            return
        self.buffers = {name: self.layout.repack(flat, layout) for name, flat in self.buffers.items()}
        resized = [self._zeros(*shape) for shape in self._frozen_shapes(layout)]
        for layer, (old, new) in enumerate(zip(self.frozen, resized, strict=True)):
            columns = min(old.shape[2], new.shape[2])
            for one, two in zip(before.spans(layer), layout.spans(layer), strict=True):
                copy_first(old[:, one.packed, :columns], new[:, two.packed, :columns])
        self.frozen, self.layout = resized, layout
        self._refresh()

    def birth_index(self, layer: int) -> NDArray[np.int64]:
        """Birth index of every unit of a hidden layer, shape (N, frozen + active), -1 for padding."""
        frozen, active = self.layout.frozen[layer], self.layout.active[layer]
        f = self.frozen_units[:, layer, None]
        a = self.active_units[:, layer, None]
        head, tail = np.arange(frozen)[None], np.arange(active)[None]
        return np.concatenate((np.where(head <= f, head, -1), np.where(tail < a, 1 + f + tail, -1)), axis=1)

    def read_index(self, layer: int, starts: Sequence[int] = ()) -> NDArray[np.int64]:
        """What identifies each unit that a layer reads, shape (N, fan_in), -1 for padding: birth indices, and more.

        Args:
            layer: hidden layer above the first, or L for the head.
            starts: added to the birth indices in each hidden layer that is read, the lowest first; by default no two
                units are alike. The constant unit is always 0.
        """
        starts = starts or range(0, self.depth * LEVEL, LEVEL)
        sources = [span.source for span in self.layout.spans(layer)]
        parts = [self.birth_index(source) for source in sources]
        for part in parts[1:]:
            part[:, 0] = -1  # wires bring no second constant unit
        lifts = [starts[source - sources[-1]] for source in sources]
        lifted = [np.where(part > 0, part + lift, part) for part, lift in zip(parts, lifts, strict=True)]
        return np.concatenate(lifted, axis=1)

    # -- computing ---------------------------------------------------------------------------------------------------

    def _work(self, batch: int) -> dict[str, list[Tensor]]:
        if batch not in self._space:
            n, read = self.rows, [self.layout.fan_in(layer) for layer in range(1, self.depth + 1)]
            space = {name: [self._zeros(n, batch, count) for count in read] for name in ("units", "delta")}
            space["own"] = list(space["units"])
            for layer in self.bypassed:
                space["own"][layer] = self._zeros(n, batch, sum(self._split(layer)))
            self._space[batch] = {**space, "logits": [self._zeros(n, batch, self.classes)]}
        return self._space[batch]

    def into(self, layer: int) -> Tensor:
        """All weights into a hidden layer, (N, fan_in, frozen + active), valid until the next call; read only.

        One product with all of them is faster than one for frozen and one for active units.
        """
        # Frozen weights change seldom, but whoever changes them, in place too, must be heard.
        version = -1 if self.frozen[layer].is_inference() else self.frozen[layer]._version
        weight, joined = self._joined_from[layer]
        if weight is not self.frozen[layer] or version < 0 or version != joined:
            weight = self.frozen[layer]
            spread(self.layout, layer, weight, self._joined[layer])
            self._joined_from[layer] = (weight, version)
        self._joined_active[layer].copy_(self.weights[layer])
        return self._joined[layer]

    def forward(
        self, x: Tensor, head: Tensor | None = None, order: Tensor | None = None, gates: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Logits, shape (N, B, C), valid until the next call with as many samples.

        Args:
            x: inputs whose last value is one, shape (N, B, D + 1), contiguous.
            head: outgoing weights of all that the head reads, shape (N, fan_in, C); None for the current ones.
            order: gathers the rows of the first weights before use, shape (N, D + 1); None keeps them.
            gates: factors of the units of each hidden layer, (N, frozen + active) or (N, B, frozen + active).
        """
        work, units = self._work(x.shape[1]), x
        for layer in range(self.depth):
            weights = self.into(layer)
            if layer == 0 and order is not None:
                weights = take(weights, order, dim=1)
            below, units = units, torch.bmm(units, weights, out=work["own"][layer]).clamp_(min=0.0)
            if gates is not None:
                units.mul_(each_sample(gates[layer]))
            if layer in self.bypassed:
                units = with_wires(units, below, out=work["units"][layer])
        return torch.bmm(units, self.weights[-1] if head is None else head, out=work["logits"][0])

    def forward_frozen(
        self,
        x: Tensor,
        head: Tensor,
        sizes: Sequence[int],
        order: Tensor | None = None,
        gates: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Logits from the first frozen units alone, shape (N, B, C).

        The shapes are those of the time when these units were all there were, so the logits are the same to the last
        bit.

        Args:
            x, order, gates: as in `forward`.
            head: outgoing weights of all that the head reads; those beyond `sizes` are not used.
            sizes: frozen units to use of each layer, the constant one included.
        """
        for layer, weight in enumerate(self.frozen):
            used = oldest(self.layout, layer, weight[:, :, : sizes[layer]], sizes)
            used = used if layer > 0 or order is None else take(used, order, dim=1)
            below, x = x, torch.bmm(x, used).clamp_(min=0.0)
            if gates is not None:
                x.mul_(each_sample(gates[layer][..., : sizes[layer]]))
            if layer in self.bypassed:
                x = with_wires(x, below)
        return torch.bmm(x, oldest(self.layout, self.depth, head, sizes))

    def backward(self, x: Tensor, grad_logits: Tensor, gates: Sequence[Tensor] | None = None) -> None:
        """Fill `gradients` for the inputs of the last `forward` call.

        Args:
            x: the inputs given to `forward`.
            grad_logits: derivative of the summed loss, shape (N, B, C), contiguous along one of its last dimensions.
            gates: those given to `forward`.
        """
        work = self._work(x.shape[1])
        delta, wires = grad_logits, None
        for layer in range(self.depth, -1, -1):
            source = x if layer == 0 else work["units"][layer - 1]
            torch.bmm(source.transpose(1, 2), delta, out=self.gradients[layer])
            if layer > 0:
                # For the frozen units as well, and then dropped: kernels want whole, contiguous operands.
                below = torch.bmm(delta, self.weights[layer].transpose(1, 2), out=work["delta"][layer - 1])
                if wires is not None:
                    below.add_(wires)
                below = _relu_backward(below, work["units"][layer - 1], 0, grad_input=below)
                frozen, active = self._split(layer - 1)
                if gates is not None:
                    below[:, :, : frozen + active].mul_(each_sample(gates[layer - 1]))
                delta = below[:, :, frozen : frozen + active]
                wires = below[:, :, frozen + active :] if layer - 1 in self.bypassed else None

    # -- changing ----------------------------------------------------------------------------------------------------

    def add_buffer(self, name: str, degree: int = 0) -> Tensor:
        """A new flat buffer of zeros that follows the weights from now on.

        Args:
            name: its key in `buffers`.
            degree: how it scales with gradients: 1 for a mean of gradients, 2 for one of squares. A copy of a unit then
                inherits it; with 0 a copy starts at zero.
        """
        self.buffers[name] = self._zeros(self.layout.size)
        self.degrees[name] = degree
        return self.buffers[name]

    def clear(self, rows: NDArray[np.bool_]) -> None:
        """Take all units from some rows; `fit` afterwards."""
        index = torch.from_numpy(np.flatnonzero(rows)).to(self.device)
        for flat in self.buffers.values():
            for block in self.layout.blocks(flat):
                block[index] = 0.0
        for weight in self.frozen:
            weight[index] = 0.0
        self.frozen_units[rows] = 0
        self.active_units[rows] = 0
        self._set_constants()

    def clear_buffer(self, name: str, rows: NDArray[np.bool_]) -> None:
        """Zero one buffer for some rows."""
        if rows.all():
            self.buffers[name].zero_()
            return
        index = torch.from_numpy(np.flatnonzero(rows)).to(self.device)
        for block in self.layout.blocks(self.buffers[name]):
            block[index] = 0.0

    def reserve(self, layer: int, amounts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Make room for new active units and count them as live; their weights are zero until `set_units` is called.

        Args:
            layer: hidden layer that grows.
            amounts: new units of each row, shape (N,).

        Returns:
            Position of each row's first new unit among the active ones, shape (N,).
        """
        first: NDArray[np.int64] = self.active_units[:, layer].copy()
        self.active_units[:, layer] += amounts
        self.fit()
        return first

    def set_units(
        self,
        layer: int,
        first: NDArray[np.int64],
        amounts: NDArray[np.int64],
        fan_in: Tensor,
        fan_out: Tensor | None = None,
    ) -> None:
        """Write the weights of new active units.

        Args:
            layer: hidden layer of the units.
            first: position of each row's first new unit, shape (N,), as `reserve` returned it.
            amounts: new units of each row, shape (N,).
            fan_in: their incoming weights, shape (N, fan_in, K) with K >= max(amounts); columns past a row's amount are
                ignored.
            fan_out: their outgoing weights, shape (N, K, fan_out of the next block); None for zero.
        """
        row, unit = np.nonzero(np.arange(fan_in.shape[2])[None, :] < amounts[:, None])
        if not len(row):
            return
        n, k = torch.from_numpy(row).to(self.device), torch.from_numpy(unit).to(self.device)
        position = torch.from_numpy(first[row] + unit).to(self.device)
        self.weights[layer][n, :, position] = fan_in[n, :, k].to(self.dtype)
        if fan_out is not None:
            self.weights[layer + 1][n, self.layout.frozen[layer] + position] = fan_out[n, k].to(self.dtype)

    def replace(self, block: int, rows: NDArray[np.bool_], weights: Tensor) -> None:
        """Overwrite the trainable weights into a layer (or into the head) in some rows; zeros must stay zeros.

        Args:
            block: hidden layer, or L for the head.
            rows: which rows, shape (N,).
            weights: the new ones of all rows, shape (N, fan_in, fan_out).
        """
        index = torch.from_numpy(np.flatnonzero(rows)).to(self.device)
        self.weights[block][index] = weights[index].to(self.dtype)

    def freeze(self, rows: NDArray[np.bool_]) -> None:
        """Turn the active units of some rows into frozen ones, in birth order, bit for bit.

        The weights from these units into the head are dropped with the head; save it first.
        """
        if not rows.any():
            return
        layout, blocks = self.layout, zip(self.frozen, self.weights, strict=False)
        whole = [complete(layout, layer, *pair) for layer, pair in enumerate(blocks)]
        born = [self.birth_index(layer) for layer in range(self.depth)]
        self.frozen_units[rows] += self.active_units[rows]
        kept = np.where(rows[:, None], 0, self.active_units)
        self.clear_active(rows)
        self.active_units = kept
        self.fit()
        before = [
            places(born[layer], units, self.layout.frozen[layer]).to(self.device)
            for layer, units in enumerate(self.frozen_units.T)
        ]
        self.frozen = [rearranged(layout, layer, each, before) for layer, each in enumerate(whole)]
        self._set_constants()

    def clear_active(self, rows: NDArray[np.bool_]) -> None:
        """Zero everything trainable of some rows, head included."""
        for name in self.buffers:
            self.clear_buffer(name, rows)

    def reorder_inputs(self, order: Tensor) -> None:
        """Gather the rows of the first layer's weights, and of everything that follows them, as `order` says.

        Args:
            order: for each input position the position that it takes over, shape (N, D + 1).
        """
        self.frozen[0] = take(self.frozen[0], order, dim=1)
        for flat in self.buffers.values():
            block = self.layout.blocks(flat)[0]
            block.copy_(take(block, order, dim=1))

    # -- saving ------------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # Pickle would bring the views back as tensors of their own, which no optimiser updates.
        derived = ("weights", "gradient", "gradients", "_space", "_joined", "_joined_active", "_joined_from")
        return {name: value for name, value in vars(self).items() if name not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._refresh()

    def state(self) -> dict[str, Any]:
        """A copy of all weights, followers and unit counts."""
        return {
            "layout": self.layout,
            "buffers": {name: flat.clone() for name, flat in self.buffers.items()},
            "frozen": [weight.clone() for weight in self.frozen],
            "units": (self.frozen_units.copy(), self.active_units.copy()),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` returned."""
        self.layout = state["layout"]
        self.buffers = {name: flat.clone() for name, flat in state["buffers"].items()}
        self.frozen = [weight.clone() for weight in state["frozen"]]
        self.frozen_units, self.active_units = (units.copy() for units in state["units"])
        self._refresh()
