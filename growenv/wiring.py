"""Which layers read which: a chain, with wires around the hidden layers that a fresh network does not have."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def absent_at_first(hidden: Sequence[int]) -> tuple[int, ...]:
    """The hidden layers of which a fresh network has no unit: wires lead around them, for ever.

    Args:
        hidden: initial width of each hidden layer.
    """
    return tuple(layer for layer, width in enumerate(hidden) if width == 0)


def layers_read(layer: int, bypassed: Collection[int]) -> tuple[int, ...]:
    """The hidden layers whose units a layer reads, the nearest first; layer 0 reads the inputs and no hidden layer.

    Where wires lead around a hidden layer, whoever reads it also reads, unchanged, all that it reads itself.

    Args:
        layer: hidden layer, or the number of hidden layers for heads.
        bypassed: hidden layers around which wires lead; never layer 0.
    """
    found: list[int] = []
    while layer > 0 and (not found or layer in bypassed):
        layer -= 1
        found.append(layer)
    return tuple(found)


def readers(layer: int, layers: int, bypassed: Collection[int]) -> tuple[int, ...]:
    """The hidden layers that read the units of a hidden layer, the nearest first; `layers` stands for heads.

    Args:
        layer: hidden layer.
        layers: number of hidden layers.
        bypassed: hidden layers around which wires lead.
    """
    return tuple(above for above in range(layer + 1, layers + 1) if layer in layers_read(above, bypassed))
