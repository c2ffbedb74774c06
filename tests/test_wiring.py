"""Who reads whom, by hand."""

from __future__ import annotations

from growenv.wiring import absent_at_first, layers_read, readers


def test_a_chain_reads_the_layer_below() -> None:
    assert [layers_read(layer, ()) for layer in range(4)] == [(), (0,), (1,), (2,)]
    assert [readers(layer, 3, ()) for layer in range(3)] == [(1,), (2,), (3,)]


def test_wires_bring_what_the_layer_below_reads_itself() -> None:
    assert [layers_read(layer, (1,)) for layer in range(4)] == [(), (0,), (1, 0), (2,)]
    assert [layers_read(layer, (1, 2)) for layer in range(4)] == [(), (0,), (1, 0), (2, 1, 0)]
    assert [layers_read(layer, (2,)) for layer in range(4)] == [(), (0,), (1,), (2, 1)]
    assert [readers(layer, 3, (1, 2)) for layer in range(3)] == [(1, 2, 3), (2, 3), (3,)]


def test_layers_that_start_without_units_get_wires() -> None:
    assert absent_at_first((8, 0, 4, 0)) == (1, 3)
    assert absent_at_first((8, 8)) == ()
