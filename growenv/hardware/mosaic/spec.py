"""What a Mosaic chip is made of: sizes, ports, devices, energies, times, areas, and what a network may use of them."""

# ruff: noqa: N815 - names end with the symbols of their units, as in e_hop_J

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import numpy as np

from growenv.hardware.mosaic import report
from growenv.registry import unknown_name

ENERGY_MODES = ("lumped", "device")

# Far beyond any chip; more would only fill memory with tables, or overflow 32-bit channel counts.
MOST_TILES = 4096
MOST_CHANNELS = 65_536

_MNSIM = "tool: default of MNSIM 2.0"
_UNKNOWN = "assumed: unknown, 0 leaves it out"
_LIMIT = "assumed: None is no limit"


def _about(unit: str, meaning: str, provenance: str = "") -> dict[str, str]:
    """What a field carries: the provenance of its default, or none for a size, which is judged by its value."""
    return {"unit": unit, "meaning": meaning, "provenance": provenance}


@dataclass(frozen=True, kw_only=True)
class MosaicSpec:
    """A Mosaic chip: rows x cols neuron tiles in a mesh of routing cells.

    Every field carries its unit, its meaning and where its default comes from; `report` prints all of them. No public
    energy, latency or area model of Mosaic is known, so joules, seconds and square metres are parameters, not facts.
    A port is one side (north, east, south or west) of a cell; a channel is one line of a port, owned by one neuron.
    Numbers of channels that are None are as many as a tile has neurons.

    Raises:
        ValueError: a value that no chip can have.

    Sources: Dalgaty et al. 2024, doi 10.1038/s41467-023-44365-x; Weber, Ballet and Payvand, arXiv 2412.01575; and
    their public code.
    """

    rows: int = field(default=4, metadata=_about("tiles", "rows of neuron tiles R"))
    cols: int = field(default=4, metadata=_about("tiles", "columns of neuron tiles C"))
    neurons_per_tile: int = field(default=32, metadata=_about("neurons", "neurons of a tile N"))
    nt_port_channels: int | tuple[int, int, int, int] | None = field(
        default=None, metadata=_about("channels", "input ports of a tile: one number, or north, east, south, west")
    )
    r1_port_channels: int | None = field(default=None, metadata=_about("channels", "every port of an edge router"))
    r0_port_channels: int | None = field(default=None, metadata=_about("channels", "every port of a corner router"))
    allow_uturn_cells: bool = field(
        default=True,
        metadata=_about("", "routers have devices from a side back to itself", "primary code: memory formula"),
    )
    recurrent_block: bool = field(
        default=True,
        metadata=_about("", "tiles have devices between their own neurons", "derived: memory totals match"),
    )
    devices_per_synapse: int = field(
        default=1,
        metadata=_about("memristors", "devices of one synapse; 2 is a differential pair", "primary code"),
    )
    max_crossbar_side: int | None = field(
        default=None,
        metadata=_about("lines", "most lines in use on a side of any crossbar", f"{_LIMIT}; motive arXiv 2307.08116"),
    )
    tech_nm: float = field(
        default=130.0, metadata=_about("nm", "feature size F", "abstract: 130 nm CMOS with integrated memristors")
    )
    g_lrs_S: float = field(default=1e-4, metadata=_about("S", "conductance of a device that is on", _MNSIM))
    g_hrs_S: float = field(default=1e-6, metadata=_about("S", "conductance of a device that is off", _MNSIM))
    v_read_V: float = field(default=0.15, metadata=_about("V", "read voltage", _MNSIM))
    t_pulse_s: float = field(default=1e-7, metadata=_about("s", "length of a read pulse", "assumed"))
    energy_mode: str = field(
        default="lumped",
        metadata=_about("", "routing energy: lumped counts e_hop_J for each cell, device its conductances", "assumed"),
    )
    e_hop_J: float = field(
        default=0.3e-12,
        metadata=_about("J", "a spike through one routing cell (lumped)", "assumed: a tenth of a Loihi hop, 3.0 pJ"),
    )
    e_neuron_J: float = field(default=1e-12, metadata=_about("J", "a spike of a neuron", "assumed"))
    e_in_J: float = field(default=0.0, metadata=_about("J", "a spike of an input relay", "assumed"))
    p_static_W: float = field(default=0.0, metadata=_about("W", "static power of a tile", _UNKNOWN))
    t_hop_s: float = field(default=1e-7, metadata=_about("s", "delay of a routing cell", "assumed"))
    t_tile_s: float = field(default=1e-7, metadata=_about("s", "delay of a neuron tile", "assumed"))
    cell_area_F2: float = field(
        default=48.0,
        metadata=_about("F^2", "area of one memristor with its selector", "tool: default of NeuroSim V1.4"),
    )
    row_area_m2: float = field(default=0.0, metadata=_about("m^2", "periphery of a crossbar row", _UNKNOWN))
    column_area_m2: float = field(default=0.0, metadata=_about("m^2", "periphery of a crossbar column", _UNKNOWN))
    neuron_area_m2: float = field(default=0.0, metadata=_about("m^2", "one neuron", _UNKNOWN))
    max_memristors: int | None = field(
        default=None, metadata=_about("memristors", "most memristors that a network may use", _LIMIT)
    )
    max_energy_J: float | None = field(
        default=None, metadata=_about("J", "most energy of one inference of a network", _LIMIT)
    )
    max_latency_s: float | None = field(
        default=None, metadata=_about("s", "greatest latency of one inference of a network", _LIMIT)
    )

    def __post_init__(self) -> None:
        for name in ("rows", "cols", "devices_per_synapse"):
            self._set_integer(name, 1)
        self._set_integer("neurons_per_tile", 1, MOST_CHANNELS)
        enough = 2 <= self.tiles <= MOST_TILES
        grid = f"{self.rows} x {self.cols}"
        _check(enough, "rows x cols", grid, f"2 to {MOST_TILES} tiles, since a lone tile has nobody to route to")
        for name in ("r1_port_channels", "r0_port_channels"):
            self._set_integer(name, 1, MOST_CHANNELS, optional=True)
        self._set_ports()
        self._set_integer("max_crossbar_side", 1, optional=True)
        self._set_integer("max_memristors", 0, optional=True)
        for name in ("allow_uturn_cells", "recurrent_block"):
            given = getattr(self, name)
            _check(isinstance(given, bool | np.bool_), name, given, "true or false")
            object.__setattr__(self, name, bool(given))
        for name in ("tech_nm", "g_lrs_S", "v_read_V", "t_pulse_s", "cell_area_F2"):
            self._set_number(name, above_zero=True)
        for name in ("g_hrs_S", "e_hop_J", "e_neuron_J", "e_in_J", "p_static_W", "t_hop_s", "t_tile_s"):
            self._set_number(name)
        for name in ("row_area_m2", "column_area_m2", "neuron_area_m2"):
            self._set_number(name)
        for name in ("max_energy_J", "max_latency_s"):
            self._set_number(name, optional=True)
        off_below_on = f"at most g_lrs_S={self.g_lrs_S!r}, since a device that is off conducts less"
        _check(self.g_hrs_S <= self.g_lrs_S, "g_hrs_S", self.g_hrs_S, off_below_on)
        if self.energy_mode not in ENERGY_MODES:
            raise unknown_name("energy_mode of MosaicSpec", self.energy_mode, ENERGY_MODES)

    def _set_integer(self, name: str, low: int, high: int | None = None, optional: bool = False) -> None:
        given = getattr(self, name)
        if given is None and optional:
            return
        expected = f"an integer of at least {low}" + (f" and at most {high}" if high else "")
        within = _is_integer(given) and given >= low and (high is None or given <= high)
        _check(within, name, given, expected + (", or None" if optional else ""))
        object.__setattr__(self, name, int(given))

    def _set_number(self, name: str, above_zero: bool = False, optional: bool = False) -> None:
        given = getattr(self, name)
        if given is None and optional:
            return
        expected = (
            "a finite number " + ("above 0" if above_zero else "of at least 0") + (", or None" if optional else "")
        )
        number = _finite(given)
        _check(number is not None and (number > 0 or (number == 0 and not above_zero)), name, given, expected)
        object.__setattr__(self, name, number)

    def _set_ports(self) -> None:
        given = self.nt_port_channels
        if given is None:
            return
        several = isinstance(given, list | tuple | np.ndarray)
        sides: Any = tuple(given) if several else (given,)  # type: ignore[arg-type]
        valid = len(sides) in ((4,) if several else (1,))
        valid = valid and all(_is_integer(side) and 1 <= side <= MOST_CHANNELS for side in sides)
        expected = f"one integer from 1 to {MOST_CHANNELS}, four of them (north, east, south, west), or None"
        _check(valid, "nt_port_channels", given, expected)
        ports = tuple(int(side) for side in sides)
        object.__setattr__(self, "nt_port_channels", ports if several else ports[0])

    @property
    def tiles(self) -> int:
        """Neuron tiles T."""
        return self.rows * self.cols

    @property
    def neurons(self) -> int:
        """Neurons of the whole chip."""
        return self.tiles * self.neurons_per_tile

    @property
    def edge_routers(self) -> int:
        """Routing cells beside a tile or between two (R1)."""
        return self.rows * (self.cols + 1) + self.cols * (self.rows + 1)

    @property
    def corner_routers(self) -> int:
        """Routing cells at the corners of tiles (R0)."""
        return (self.rows + 1) * (self.cols + 1)

    @property
    def ports(self) -> tuple[int, int, int, int]:
        """Channels of a tile's input ports: north, east, south, west."""
        given = self.neurons_per_tile if self.nt_port_channels is None else self.nt_port_channels
        return given if isinstance(given, tuple) else (given, given, given, given)

    @property
    def r1_channels(self) -> int:
        """Channels of every port of an edge router."""
        return self.neurons_per_tile if self.r1_port_channels is None else self.r1_port_channels

    @property
    def r0_channels(self) -> int:
        """Channels of every port of a corner router."""
        return self.neurons_per_tile if self.r0_port_channels is None else self.r0_port_channels

    @property
    def tile_rows(self) -> int:
        """Rows of a tile's crossbar: its own neurons, if they are connected, and the channels of its four ports."""
        return self.neurons_per_tile * self.recurrent_block + sum(self.ports)

    @property
    def area_is_complete(self) -> bool:
        """Whether every peripheral area is known (above 0); otherwise `provisioned_area_m2` is too small."""
        return min(self.row_area_m2, self.column_area_m2, self.neuron_area_m2) > 0

    @property
    def limits(self) -> tuple[int | None, float | None, float | None]:
        """Most memristors, joules and seconds of a network; None where there is no limit."""
        return self.max_memristors, self.max_energy_J, self.max_latency_s

    def tile_memristors(self) -> int:
        """Memristors of one neuron tile: d N (N + sum of its port channels), without the first N if not recurrent."""
        return self.devices_per_synapse * self.neurons_per_tile * self.tile_rows

    def router_memristors(self, channels: int) -> int:
        """Memristors of one routing cell with this many channels on each of four inputs and four outputs.

        Every input line crosses every output line: 16 c^2, or 12 c^2 without the devices that would send a spike back
        where it came from.
        """
        return (16 if self.allow_uturn_cells else 12) * channels**2

    def provisioned_memristors(self) -> int:
        """Memristors that the chip is built with, used or not; routing cells of the border have all four sides too."""
        edge = self.edge_routers * self.router_memristors(self.r1_channels)
        corner = self.corner_routers * self.router_memristors(self.r0_channels)
        return self.tiles * self.tile_memristors() + edge + corner

    def provisioned_area_m2(self) -> float:
        """Area of all memristors, of the periphery of all crossbar rows and columns, and of all neurons, in m^2.

        A differential pair takes two columns [assumed]. Too small unless `area_is_complete`.
        """
        routing_lines = 4 * (self.edge_routers * self.r1_channels + self.corner_routers * self.r0_channels)
        rows = self.tiles * self.tile_rows + routing_lines
        columns = self.tiles * self.neurons_per_tile * self.devices_per_synapse + routing_lines
        periphery = rows * self.row_area_m2 + columns * self.column_area_m2 + self.neurons * self.neuron_area_m2
        return self.provisioned_memristors() * self.cell_area_F2 * (self.tech_nm * 1e-9) ** 2 + periphery

    def to_json(self) -> dict[str, Any]:
        """All fields as plain values; four port channels are a list."""
        plain = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> MosaicSpec:
        """The specification that `to_json` wrote; a field that is missing has its default.

        Raises:
            ValueError: no JSON object, a field that does not exist (with the nearest one that does), or a wrong value.
        """
        if not isinstance(plain, Mapping):
            raise ValueError(f"a Mosaic specification is {plain!r}, expected a JSON object of fields and values")
        known = [each.name for each in dataclasses.fields(cls)]
        for name in plain:
            if name not in known:
                raise unknown_name("field of MosaicSpec", name, known)
        return cls(**plain)

    def provenance(self) -> dict[str, str]:
        """Where the value of every field comes from; see `growenv.hardware.mosaic.report.provenance`."""
        return report.provenance(self)

    def report(self) -> str:
        """The chip in words and numbers; see `growenv.hardware.mosaic.report.report`."""
        return report.report(self)


def _check(holds: bool, name: str, given: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"MosaicSpec {name}={given!r}: expected {expected}")


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _finite(value: object) -> float | None:
    """`value` as a finite float, None if it is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the largest float
        return None
    return number if math.isfinite(number) else None


# Grids of the authors are `weber2025` and `dalgaty2024_code`; the others follow the same rules.
PRESETS: dict[str, MosaicSpec] = {
    "tiny": MosaicSpec(rows=2, cols=2, neurons_per_tile=8),
    "demo": MosaicSpec(),
    "weber2025": MosaicSpec(rows=5, cols=5, r0_port_channels=8),
    "dalgaty2024_code": MosaicSpec(rows=8, cols=8),
    "large": MosaicSpec(rows=8, cols=8, neurons_per_tile=128),  # extrapolated: no such chip or model was published
    # The smallest square grids on which two tiles relay the inputs of an environment's images, and limits matter.
    "digits": MosaicSpec(rows=3, cols=3),  # 8x8 pixels
    "mnist": MosaicSpec(rows=3, cols=3, neurons_per_tile=100),  # 14x14 pixels; extrapolated tile size
}


def preset(name: str) -> MosaicSpec:
    """The specification that is registered under `name` in `PRESETS`.

    Raises:
        UnknownNameError: no such preset; the message holds the nearest known one.
    """
    if name not in PRESETS:
        raise unknown_name("Mosaic preset", name, PRESETS)
    return PRESETS[name]
