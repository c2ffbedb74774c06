"""What a stack would answer with other weights than its own; nothing that training uses is touched."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from growenv.networks.frozen import complete, first_active
from growenv.networks.layout import each_sample, take, with_wires
from growenv.networks.stacked_mlp import StackedMLP


def hidden_with(
    network: StackedMLP,
    x: Tensor,
    flat: Tensor,
    sizes: Sequence[int] | None = None,
    gates: Sequence[Tensor] | None = None,
    order: Tensor | None = None,
) -> list[Tensor]:
    """What the reader of every hidden layer reads under other weights, L tensors (N, B, fan_in of the reader).

    Args:
        network: the stack.
        x: inputs whose last value is one, (N, B, D + 1).
        flat: weights that lie as the network's own do.
        sizes: use the first active units of each layer only, as many; None for all of them.
        gates: factors of the units of each hidden layer, as in `StackedMLP.forward`.
        order: gathers the rows of the first weights before use, as in `StackedMLP.forward`.
    """
    layout, read = network.layout, []
    for layer, block in enumerate(layout.blocks(flat)[:-1]):
        weight = complete(layout, layer, network.frozen[layer], block)
        weight = weight if layer > 0 or order is None else take(weight, order, dim=1)
        below, x = x, torch.bmm(x, first_active(layout, layer, weight, sizes)).clamp_(min=0.0)
        if gates is not None:
            x.mul_(each_sample(gates[layer][..., : x.shape[2]]))
        if layer in network.bypassed:
            x = with_wires(x, below)
        read.append(x)
    return read


def forward_with(
    network: StackedMLP,
    x: Tensor,
    flat: Tensor,
    head: Tensor | None = None,
    sizes: Sequence[int] | None = None,
    gates: Sequence[Tensor] | None = None,
    order: Tensor | None = None,
) -> Tensor:
    """Logits under other weights, (N, B, C).

    With the `sizes` of an earlier time the shapes are those of that time, and so is every bit of the logits.

    Args:
        network, x, flat, sizes, gates, order: as in `hidden_with`.
        head: outgoing weights of all that the head reads, (N, fan_in, C); None for those in `flat`.
    """
    layout = network.layout
    head = layout.blocks(flat)[-1] if head is None else head
    read = hidden_with(network, x, flat, sizes, gates, order)[-1]
    return torch.bmm(read, first_active(layout, layout.depth, head, sizes))


def activity(
    network: StackedMLP,
    x: Tensor,
    weights: Tensor,
    flat: Tensor | None = None,
    gates: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """How often every unit is above zero, for each hidden layer a tensor of shape (N, frozen + active).

    Args:
        network, x, gates: as in `hidden_with`.
        weights: weight of each sample, shape (N, B); they sum to 1 in a row.
        flat: weights that lie as the network's own do; None for its own.
    """
    layout = network.layout
    read = hidden_with(network, x, network.buffers["weights"] if flat is None else flat, gates=gates)
    own = [units[:, :, : layout.frozen[layer] + layout.active[layer]] for layer, units in enumerate(read)]
    return [torch.einsum("nbu,nb->nu", (units > 0).to(weights.dtype), weights) for units in own]
