"""The smallest chip for random connectivity, against the totals that the model's definition states.

The profile: 5x5 tiles of 32 neurons; every tile reads itself; of all (neuron, tile) blocks at hop d, each source tile
draws exactly ``round(p_d * blocks)``, with p_1 = 0.95. The stated totals are means over draws that are not known,
and one draw scatters by 5 to 7 percent, so means are compared.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from tests.hardware.mosaic import reference as ref
from tests.hardware.mosaic.reference import Entry, Multicast

SPEC = SimpleNamespace(rows=5, cols=5, neurons_per_tile=32, recurrent_block=True, devices_per_synapse=1)
NO_BLOCK = SimpleNamespace(**{**vars(SPEC), "recurrent_block": False})
TILES = ref.tiles(SPEC)
HOPS = np.array([[ref.hops(source, target) for target in TILES] for source in TILES])
ENTRIES = [Entry(cell, way, side) for cell in ref.cells(SPEC) for way in ("in", "out") for side in ref.SIDES]
NUMBER = {entry: number for number, entry in enumerate(ENTRIES)}
DRAWS = 100
KNOWN = {0.0: 373_600, 0.05: 593_738, 0.10: 838_522, 0.15: 1_099_010, 0.20: 1_431_662, 0.25: 1_731_088}
PLOTTED_AT_10 = 838_016  # the authors' own plot at p_3 = 0.10


@cache
def crossed() -> np.ndarray:
    """Which entries the route from tile s to tile t crosses, float32 [T, T, Q]; only routes that the profile draws."""
    table = np.zeros((len(TILES), len(TILES), len(ENTRIES)), dtype=np.float32)
    for s, t in np.argwhere((HOPS == 1) | (HOPS == 3)):
        table[s, t, [NUMBER[entry] for entry in ref.ports_of_route(TILES[s], TILES[t])]] = 1
    return table


def profile(rng, p_3, p_1=0.95):
    """Which tiles hear which neuron, bool [T, N, T]."""
    neurons = SPEC.neurons_per_tile
    heard = np.zeros((len(TILES), neurons, len(TILES)), dtype=bool)
    for s in range(len(TILES)):
        heard[s, :, s] = True
        for hop, share in ((1, p_1), (3, p_3)):
            near = np.flatnonzero(HOPS[s] == hop)
            drawn = rng.permutation(neurons * len(near))[: round(share * neurons * len(near))]
            heard[s, drawn // len(near), near[drawn % len(near)]] = True
    return heard


def loads(heard):
    """Channels in use on every entry: the neurons whose union of routes crosses it."""
    unions = np.matmul(heard.astype(np.float32), crossed()) > 0
    return Counter(dict(zip(ENTRIES, unions.sum(axis=(0, 1)).tolist(), strict=True)))


@cache
def chips(p_3):
    """Minimum chip of every draw, int [DRAWS]."""
    draws = (profile(np.random.default_rng(seed), p_3) for seed in range(DRAWS))
    return np.array([ref.minimum_chip(SPEC, loads(heard)) for heard in draws])


def test_the_quick_count_equals_the_reference():
    heard = profile(np.random.default_rng(0), 0.2)
    multicasts = [
        Multicast(TILES[s], frozenset(TILES[t] for t in np.flatnonzero(heard[s, n])))
        for s in range(len(TILES))
        for n in range(SPEC.neurons_per_tile)
    ]
    assert {entry: load for entry, load in loads(heard).items() if load} == dict(ref.loads(multicasts))


def test_a_profile_has_the_number_of_blocks_asked_for():
    heard = profile(np.random.default_rng(0), 0.1)
    for s in range(len(TILES)):
        for hop, share in ((0, 1.0), (1, 0.95), (3, 0.1), (5, 0.0)):
            blocks = 32 * (HOPS[s] == hop).sum()
            assert heard[s][:, HOPS[s] == hop].sum() == round(share * blocks)


@pytest.mark.parametrize("p_3", KNOWN)
def test_the_mean_minimum_chip_is_the_stated_one_within_five_percent(p_3):
    assert chips(p_3).mean() == pytest.approx(KNOWN[p_3], rel=0.05)


def test_without_hops_of_three_no_corner_router_is_used_and_edge_routers_have_64_lines():
    for seed in range(5):
        used = loads(profile(np.random.default_rng(seed), 0.0))
        fan_in = sum(max(used[Entry(ref.cell_of(tile), "in", side)] for tile in TILES) for side in ref.SIDES)
        assert all(load == 0 for entry, load in used.items() if ref.kind_of(entry.cell) == "R0")
        assert ref.minimum_chip(SPEC, used) == 25 * 32 * (32 + fan_in) + 60 * 64**2
    assert chips(0.0).mean() == pytest.approx(KNOWN[0.0], rel=0.001)


def test_the_stated_totals_include_the_recurrent_block():
    # Where scatter is small the block decides: 25 tiles of 32^2 cells are 7 % of the chip without hops of three.
    block = 25 * 32**2
    used = loads(profile(np.random.default_rng(0), 0.0))
    assert ref.minimum_chip(SPEC, used) - ref.minimum_chip(NO_BLOCK, used) == block
    assert (chips(0.0) - block).mean() < 0.94 * KNOWN[0.0]
    # At p_3 = 0.10 the plotted total is matched with the block to 0.06 %, and missed without it by 3 %.
    assert KNOWN[0.10] / PLOTTED_AT_10 - 1 == pytest.approx(0.0006, abs=5e-5)
    assert (KNOWN[0.10] - block) / PLOTTED_AT_10 - 1 == pytest.approx(-0.030, abs=5e-4)
    assert chips(0.10).mean() == pytest.approx(PLOTTED_AT_10, rel=0.03)


def test_a_dense_crossbar_wins_between_p_3_of_005_and_010():
    assert chips(0.05).mean() < (5 * 5 * 32) ** 2 < chips(0.10).mean()
