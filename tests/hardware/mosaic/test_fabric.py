"""The fabric: geometry by hand, hops by search, routes cell by cell, ports by kind of cell."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.hardware.mosaic import Fabric, MosaicSpec, fabric, preset
from growenv.hardware.mosaic.fabric import hop_count, hop_histogram

NORTH, EAST, SOUTH, WEST = range(4)
STEPS = {NORTH: (-1, 0), EAST: (0, 1), SOUTH: (1, 0), WEST: (0, -1)}
HISTOGRAMS = {
    2: {1: 8, 3: 4},
    4: {1: 48, 3: 36, 5: 80, 7: 56, 9: 16, 11: 4},
    5: {1: 80, 3: 64, 5: 156, 7: 140, 9: 100, 11: 40, 13: 16, 15: 4},
    8: dict(zip(range(1, 28, 2), [224, 196, 528, 584, 592, 556, 480, 368, 224, 140, 80, 40, 16, 4], strict=True)),
}
GRIDS = [(1, 2), (2, 1), (1, 6), (6, 1), (2, 2), (2, 7), (3, 5), (4, 4), (6, 3)]
grids = st.tuples(st.integers(1, 9), st.integers(1, 9)).filter(lambda grid: grid != (1, 1))


def build(rows: int, cols: int, **options: object) -> Fabric:
    return Fabric(MosaicSpec(rows=rows, cols=cols, **options))


def all_routes(mesh: Fabric) -> tuple[np.ndarray, np.ndarray]:
    every = np.arange(mesh.tiles)
    return mesh.routes(every[:, None], every)


def pair(mesh: Fabric, cell: int) -> tuple[int, int]:
    """A cell number as (row, column) of cells."""
    return divmod(int(cell), mesh.shape[1])


def crossed(mesh: Fabric, source: int, target: int) -> list[tuple[int, int]]:
    """The routing cells of one route."""
    return [pair(mesh, cell) for cell in mesh.routes(source, target)[1] if cell < mesh.cells]


def links_of(mesh: Fabric, source: int, target: int) -> list[int]:
    return [int(link) for link in mesh.routes(source, target)[0] if link < mesh.links]


def entry_side(mesh: Fabric, link: int) -> int:
    """Side of the receiving cell through which a link arrives."""
    return (int(mesh.link_side[link]) + 2) % 4


def searched_hops(rows: int, cols: int, source: tuple[int, int]) -> dict[tuple[int, int], int]:
    """Fewest routing cells from a tile to all others, by breadth-first search through routing cells alone."""
    start = (2 * source[0] + 1, 2 * source[1] + 1)
    steps, waiting = {start: 0}, deque([start])
    while waiting:
        cell = waiting.popleft()
        if cell != start and cell[0] % 2 == 1 and cell[1] % 2 == 1:
            continue  # a neuron tile passes nothing on
        for down, right in STEPS.values():
            beside = (cell[0] + down, cell[1] + right)
            if 0 <= beside[0] <= 2 * rows and 0 <= beside[1] <= 2 * cols and beside not in steps:
                steps[beside] = steps[cell] + 1
                waiting.append(beside)
    return {((y - 1) // 2, (x - 1) // 2): n - 1 for (y, x), n in steps.items() if y % 2 and x % 2 and n}


def walked(source: tuple[int, int], target: tuple[int, int]) -> list[tuple[int, int]]:
    """The one-turn rule in plain words: routing cells from one tile to another."""
    (down, right) = (target[0] - source[0], target[1] - source[1])
    y, x = 2 * source[0] + 1, 2 * source[1] + 1
    last = (2 * target[0] + 1, 2 * target[1] + 1)
    if abs(down) + abs(right) == 1:
        return [(y + down, x + right)]
    if right == 0:
        x -= 1
        path = [(y, x)]
    else:
        y += 1 if down > 0 else -1
        path = [(y, x)]
        beside = last[1] - 1 if right > 0 else last[1] + 1
        while x != beside:
            x += 1 if right > 0 else -1
            path.append((y, x))
    while y != last[0]:
        y += 1 if last[0] > y else -1
        path.append((y, x))
    return path


# --- hops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "total"), [(2, 20), (4, 1136), (5, 3640), (8, 40320)])
def test_hop_histograms_are_those_of_the_reference(side, total):
    hops = build(side, side).hops
    counted = Counter(hops[~np.eye(side * side, dtype=bool)].tolist())
    assert counted == HISTOGRAMS[side] == hop_histogram(side, side)
    assert list(hop_histogram(side, side)) == sorted(HISTOGRAMS[side])
    assert hops.sum() == total


@pytest.mark.parametrize(("rows", "cols"), GRIDS)
def test_hops_equal_a_breadth_first_search(rows, cols):
    mesh = build(rows, cols)
    for source in range(mesh.tiles):
        found = searched_hops(rows, cols, divmod(source, cols))
        expected = [found.get(divmod(target, cols), 0) for target in range(mesh.tiles)]
        assert mesh.hops[source].tolist() == expected


@given(grids)
def test_hops_are_symmetric_odd_and_zero_only_on_the_diagonal(grid):
    mesh = build(*grid)
    assert mesh.hops.dtype == np.int16
    assert (mesh.hops == mesh.hops.T).all()
    assert (mesh.hops.diagonal() == 0).all()
    assert (mesh.hops[~np.eye(mesh.tiles, dtype=bool)] % 2 == 1).all()
    assert mesh.hops.max() == mesh.longest
    counted = Counter(mesh.hops[mesh.hops > 0].tolist())
    assert counted == hop_histogram(*grid)


@given(grids)
def test_hops_survive_translation_transposition_and_reflection(grid):
    rows, cols = grid
    hops = build(rows, cols).hops.reshape(rows, cols, rows, cols)
    assert (hops[:-1, :, :-1] == hops[1:, :, 1:]).all()
    assert (hops[:, :-1, :, :-1] == hops[:, 1:, :, 1:]).all()
    assert (hops[::-1, :, ::-1] == hops).all()
    assert (hops[:, ::-1, :, ::-1] == hops).all()
    assert (build(cols, rows).hops.reshape(cols, rows, cols, rows).transpose(1, 0, 3, 2) == hops).all()


def test_hops_by_hand_break_the_triangle_inequality():
    assert hop_count(0, [0, 1, 2, 3]).tolist() == [0, 1, 5, 7]
    assert hop_count([[-1], [1]], [0, -1, 2]).tolist() == [[1, 3, 5], [1, 3, 5]]
    assert hop_count(0, 2) > hop_count(0, 1) + hop_count(0, 1)  # a spike is not relayed through a tile


# --- cells and links -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "cols", "edge", "corner"), [(4, 4, 40, 25), (5, 5, 60, 36), (8, 8, 144, 81), (1, 2, 7, 6), (3, 5, 38, 24)]
)
def test_counts_of_cells_by_hand(rows, cols, edge, corner):
    mesh = build(rows, cols)
    assert (mesh.tiles, mesh.edge_routers, mesh.corner_routers) == (rows * cols, edge, corner)
    assert mesh.shape == (2 * rows + 1, 2 * cols + 1)
    assert mesh.cells == rows * cols + edge + corner


def test_tiles_are_numbered_row_by_row():
    mesh = build(2, 3)
    assert [pair(mesh, cell) for cell in mesh.tile_cells] == [(1, 1), (1, 3), (1, 5), (3, 1), (3, 3), (3, 5)]


@given(grids)
def test_links_join_all_neighbours_in_both_directions_once(grid):
    mesh = build(*grid)
    height, width = mesh.shape
    assert mesh.links == 2 * (height * (width - 1) + width * (height - 1))
    joined = set()
    for start, end, side in zip(mesh.link_from, mesh.link_to, mesh.link_side, strict=True):
        (y, x), (down, right) = pair(mesh, start), STEPS[int(side)]
        assert pair(mesh, end) == (y + down, x + right)
        joined.add((int(start), int(end)))
    assert len(joined) == mesh.links
    assert {(end, start) for start, end in joined} == joined
    assert (mesh.into_tile == np.isin(mesh.link_to, mesh.tile_cells)).all()
    assert (mesh.from_router == ~np.isin(mesh.link_from, mesh.tile_cells)).all()
    assert mesh.into_tile.sum() == (~mesh.from_router).sum() == 4 * mesh.tiles


# --- routes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "cells", "enters"),
    [
        ((1, 2), [(3, 4)], WEST),
        ((2, 0), [(4, 3), (4, 2), (5, 2)], EAST),
        ((3, 1), [(3, 2), (4, 2), (5, 2), (6, 2), (7, 2)], WEST),
        ((0, 3), [(2, 3), (2, 4), (2, 5), (2, 6), (1, 6)], WEST),
    ],
)
def test_worked_example_cell_by_cell(target, cells, enters):
    mesh = build(4, 4)
    number = 4 * target[0] + target[1]
    assert crossed(mesh, 5, number) == cells
    assert mesh.hops[5, number] == len(cells)
    links = links_of(mesh, 5, number)
    assert [pair(mesh, mesh.link_from[link]) for link in links] == [(3, 3), *cells]
    assert mesh.link_to[links[-1]] == mesh.tile_cells[number]
    assert entry_side(mesh, links[-1]) == enters


def test_worked_example_as_a_multicast():
    """12 routing cells, 13 router outputs, 17 inputs; one cell branches, one is entered twice."""
    mesh = build(4, 4)
    links, cells = mesh.routes(5, [6, 8, 13, 3])
    owned = np.unique(links[links < mesh.links])
    union = np.unique(cells[cells < mesh.cells])
    assert mesh.hops[5, [6, 8, 13, 3]].sum() == 14
    kinds = Counter(sum(coordinate % 2 for coordinate in pair(mesh, cell)) for cell in union)
    assert kinds == {1: 8, 0: 4}
    assert mesh.from_router[owned].sum() == 13
    assert len(owned) == 17
    branches, entries = (4 + 1) * 9 + 2, 4 * 9 + 2
    assert set(mesh.link_side[owned[mesh.link_from[owned] == branches]]) == {WEST, SOUTH}
    assert {entry_side(mesh, link) for link in owned[mesh.link_to[owned] == entries]} == {NORTH, EAST}


def test_few_routes_of_a_multicast_meet_again():
    """Every tile of 5 x 5 sends to all others: 1,112 routing cells, of which 24 are entered twice."""
    mesh = build(5, 5)
    total = twice = 0
    for links, cells in zip(*all_routes(mesh), strict=True):
        entered = Counter(mesh.link_to[np.unique(links[links < mesh.links])].tolist())
        union = set(cells[cells < mesh.cells].tolist())
        total += len(union)
        twice += sum(entered[cell] > 1 for cell in union)
    assert (total, twice) == (1112, 24)


@pytest.mark.parametrize("grid", [(4, 4), (3, 5)])
def test_entry_sides_in_closed_form(grid):
    mesh = build(*grid)
    for source, target in np.ndindex(mesh.tiles, mesh.tiles):
        if source == target:
            continue
        (row, col), (to_row, to_col) = divmod(source, grid[1]), divmod(target, grid[1])
        if col == to_col and abs(row - to_row) == 1:
            expected = NORTH if row < to_row else SOUTH
        else:
            expected = EAST if col > to_col else WEST
        assert entry_side(mesh, links_of(mesh, source, target)[-1]) == expected


@pytest.mark.parametrize(("rows", "cols"), [*GRIDS, (5, 13)])
def test_routes_follow_the_rule_step_by_step(rows, cols):
    mesh = build(rows, cols)
    _, cells = all_routes(mesh)
    for source, target in np.ndindex(mesh.tiles, mesh.tiles):
        expected = [] if source == target else walked(divmod(source, cols), divmod(target, cols))
        numbers = [y * mesh.shape[1] + x for y, x in expected]
        assert cells[source, target].tolist() == numbers + [mesh.cells] * (mesh.longest - len(numbers))


@settings(max_examples=40)
@given(grids)
def test_links_and_cells_of_all_routes_agree(grid):
    mesh = build(*grid)
    links, cells = all_routes(mesh)
    assert links.shape == (mesh.tiles, mesh.tiles, mesh.longest + 1)
    assert cells.shape == (mesh.tiles, mesh.tiles, mesh.longest)
    assert links.dtype == cells.dtype == np.int32
    routed = mesh.hops > 0
    crossings, passed = links < mesh.links, cells < mesh.cells
    assert (crossings.sum(axis=-1) == np.where(routed, mesh.hops + 1, 0)).all()
    assert (passed.sum(axis=-1) == mesh.hops).all()
    assert (crossings[..., :-1] >= crossings[..., 1:]).all()  # padding comes last
    assert (passed[..., :-1] >= passed[..., 1:]).all()
    start, end = (np.append(numbers, -1)[links] for numbers in (mesh.link_from, mesh.link_to))
    assert (start[routed][:, 0] == np.broadcast_to(mesh.tile_cells[:, None], routed.shape)[routed]).all()
    assert (end[..., :-1][passed] == cells[passed]).all()  # every link ends in the cell that comes next,
    assert (start[..., 1:][passed] == cells[passed]).all()  # and the following one begins there
    last = np.take_along_axis(end, mesh.hops[..., None].astype(np.int64), axis=-1)[..., 0]
    assert (last[routed] == np.broadcast_to(mesh.tile_cells, routed.shape)[routed]).all()
    assert not np.isin(cells[passed], mesh.tile_cells).any()
    assert all(len(set(route[route < mesh.cells])) == (route < mesh.cells).sum() for route in cells[routed])


@pytest.mark.parametrize("grid", [(8, 8), (3, 5), (1, 7)])
def test_the_lookup_table_equals_the_closed_form(grid):
    mesh = build(*grid)
    source, target = np.divmod(np.arange(mesh.tiles**2), mesh.tiles)
    for looked_up, traced in zip(mesh.routes(source, target), mesh._trace(source, target), strict=True):
        assert (looked_up == traced).all()


def test_large_grids_need_no_table_of_pairs():
    mesh = build(32, 32)
    source = np.array([0, 33, 1023, 5])
    links, cells = mesh.routes(source, [1023, 65, 0, 5])
    assert mesh.longest == 123  # 2 * 62 - 1, between opposite corners; along an edge there are only 2 * 31 + 1
    assert ((cells < mesh.cells).sum(axis=-1)).tolist() == [123, 1, 123, 0]
    assert ((links < mesh.links).sum(axis=-1)).tolist() == [124, 2, 124, 0]
    assert not {"_table", "hops"} & set(vars(mesh))


def test_routes_broadcast_and_keep_shapes():
    mesh = build(2, 3)
    links, cells = mesh.routes(np.arange(2).reshape(2, 1, 1), [[0, 1, 2]])
    assert links.shape == (2, 1, 3, mesh.longest + 1)
    assert cells.shape == (2, 1, 3, mesh.longest)
    assert mesh.routes(0, 0)[0].tolist() == [mesh.links] * (mesh.longest + 1)
    assert mesh.routes([], [])[1].shape == (0, mesh.longest)
    assert mesh.routes(np.uint8(1), np.int16(4))[1][0] == 2 * 7 + 3  # cell (2, 3), between the two


@pytest.mark.parametrize("wrong", [-1, 6, [0, 6], 0.0, [1.5], True])
def test_numbers_that_no_tile_has_are_refused(wrong):
    mesh = build(2, 3)
    for ends in ((wrong, 0), (0, wrong)):
        with pytest.raises(ValueError, match=r"(source|target) is .* expected numbers of tiles, 0\.\.5"):
            mesh.routes(*ends)


# --- ports -----------------------------------------------------------------------------------------------------------


def test_the_narrower_port_binds_each_link():
    mesh = build(2, 2, neurons_per_tile=16, nt_port_channels=(3, 5, 7, 9), r1_port_channels=8, r0_port_channels=4)
    kinds = {2: "tile", 1: "edge", 0: "corner"}
    found: dict[tuple[str, str], set[int]] = {}
    for link in range(mesh.links):
        start, end = (kinds[sum(c % 2 for c in pair(mesh, at[link]))] for at in (mesh.link_from, mesh.link_to))
        key = f"tile {'NESW'[entry_side(mesh, link)]}" if end == "tile" else end
        found.setdefault((start, key), set()).add(int(mesh.capacity[link]))
    assert found == {
        ("tile", "edge"): {8},
        ("edge", "corner"): {4},
        ("corner", "edge"): {4},
        ("edge", "tile N"): {3},
        ("edge", "tile E"): {5},
        ("edge", "tile S"): {7},
        ("edge", "tile W"): {8},
    }
    assert mesh.capacity.dtype == np.int32


def test_tiles_send_at_most_their_neurons():
    mesh = build(2, 2, neurons_per_tile=4, r1_port_channels=9, nt_port_channels=9)
    assert set(mesh.capacity[~mesh.from_router]) == {4}
    assert set(mesh.capacity[mesh.into_tile]) == {9}


def test_corner_ports_of_eight_channels_bind_all_links_at_corners():
    mesh = fabric(preset("weber2025"))
    y, x = np.divmod(np.stack([mesh.link_from, mesh.link_to]), mesh.shape[1])
    corner = ((y % 2 == 0) & (x % 2 == 0)).any(axis=0)
    assert set(mesh.capacity[corner]) == {8}
    assert set(mesh.capacity[~corner]) == {32}
    assert corner.sum() == 2 * 4 * 25 + 2 * 2 * 10  # every edge router between two corners: 60 of them, both ways


def test_crossbars_of_routing_cells_add_up_to_their_memristors():
    spec = MosaicSpec(rows=2, cols=3, r1_port_channels=20, r0_port_channels=8)
    mesh = Fabric(spec)
    assert Counter(mesh.output_channels.tolist()) == {0: 6, 4 * 20: 17, 4 * 8: 12}
    assert spec.provisioned_memristors() == 6 * spec.tile_memristors() + (mesh.output_channels**2).sum()


# --- one fabric for all ----------------------------------------------------------------------------------------------


def test_equal_specifications_share_one_fabric():
    assert fabric(preset("demo")) is fabric(MosaicSpec(rows=np.int64(4), cols=4))
    assert fabric(preset("demo")) is not fabric(preset("tiny"))


def test_nobody_can_change_a_shared_fabric():
    mesh = build(2, 2)
    arrays = [mesh.hops, *mesh._table, *[value for value in vars(mesh).values() if isinstance(value, np.ndarray)]]
    assert len(arrays) > 10
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
