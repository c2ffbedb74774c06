"""What does it cost to know what still fits? The hardware's share of a decision, and how it grows with the fabric.

    python benchmarks/metering.py [--rows 64] [--meter mosaic-demo] [--out FILE.json]

First whole episodes of the default environment, played by a schedule that grows at two decisions of each task, with all
that has to do with hardware timed apart: placing networks, requests and heads, asking what fits and what it would cost,
features. Every row grows at the same decisions, which is the worst case: nothing is known from before.

Then one growth decision alone (ask, grow, ask again) for fabrics from 2x2 to 32x32 tiles and one to four hidden layers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.throughput import SCHEDULE, play
from growenv import GrowthVectorEnv
from growenv.hardware import Architecture, MosaicMeter, Requests
from growenv.hardware.mosaic import MosaicSpec

GRIDS = (2, 4, 8, 16, 32)
LAYERS = (1, 2, 4)
HARDWARE = ("begin", "finish", "used", "refresh")
"""Methods of `Admission` that do nothing but ask the meter; of the others the meter's own part counts."""


class Clock:
    """Adds up the time that some methods take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self, owner: Any, name: str) -> None:
        """Time a method of an object from now on."""
        method = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - begun

        setattr(owner, name, timed)


def share(meter: str, rows: int, episodes: int) -> dict[str, float]:
    """Milliseconds of a decision, and of the hardware in it: the quietest of several episodes."""
    env = GrowthVectorEnv(rows, meter=meter)
    env.reset(seed=0)
    clock = Clock()
    for name in HARDWARE:
        clock.watch(env.admission, name)
    placing, meter_calls = Clock(), env.admission.meter
    for name in ("commit", "snapshot"):  # the meter's part of growing; the other part grows the network
        placing.watch(meter_calls, name)
    decisions = env.config.tasks * env.config.decisions
    play(env, decisions)
    measured = []
    for _ in range(episodes):
        clock.seconds = placing.seconds = 0.0
        begun = time.perf_counter()
        play(env, decisions)
        whole = time.perf_counter() - begun
        hardware = clock.seconds + placing.seconds
        measured.append({"decision_ms": whole / decisions * 1e3, "hardware_ms": hardware / decisions * 1e3})
    best = min(measured, key=lambda one: one["decision_ms"])
    return {**best, "share": best["hardware_ms"] / best["decision_ms"]}


def growth_decision(side: int, layers: int, rows: int, repeats: int) -> float:
    """Milliseconds of one growth decision of all rows on side x side tiles: ask, grow, ask again."""
    generations = 5
    meter = MosaicMeter(MosaicSpec(rows=side, cols=side, neurons_per_tile=64))
    units = np.zeros((rows, generations, layers), dtype=np.int64)
    units[:, 0] = 4
    outputs = np.full((rows, generations), 10, dtype=np.int64)
    network = Architecture(64, units, outputs, directed=True)
    everyone, limit = np.ones(rows, dtype=np.bool_), np.full(rows, np.inf)
    meter.begin(everyone, network)
    asked = [(layer, amount) for layer in range(layers) for amount in (4, 16)]
    requests = Requests(np.array([layer for layer, _ in asked]), np.array([amount for _, amount in asked]))
    times = []
    for number in range(repeats):
        generation = np.full(rows, number * generations // repeats)
        meter.assess(network, network, requests, generation, limit)
        begun = time.perf_counter()
        network = network.grown(np.full(rows, number % layers), 1, generation)
        meter.commit(everyone, network)
        meter.assess(network, network, requests, generation, limit)
        meter.features(network)
        times.append(time.perf_counter() - begun)
    return float(np.median(times)) * 1e3


def report(results: dict[str, Any]) -> str:
    """The figures as text."""
    one = results["share"]
    lines = [
        f"{results['rows']} rows, {results['meter']}: a decision takes {one['decision_ms']:.1f} ms, "
        f"the hardware {one['hardware_ms']:.2f} ms of it ({one['share']:.1%})",
        "one growth decision, milliseconds (and microseconds for a tile and layer):",
        "tiles     " + "".join(f"{layers} layer{'s' if layers > 1 else ' '}".rjust(18) for layers in LAYERS),
    ]
    for side in GRIDS:
        cells = []
        for layers in LAYERS:
            value = results["scaling"][f"{side}x{side}"][str(layers)]
            cells.append(f"{value:.2f} ({value * 1e3 / side**2 / layers:.1f})".rjust(18))
        lines.append(f"{side}x{side}".ljust(10) + "".join(cells))
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--meter", default="mosaic-demo")
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "metering.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    scaling = {
        f"{side}x{side}": {str(layers): growth_decision(side, layers, args.rows, args.repeats) for layers in LAYERS}
        for side in GRIDS
    }
    results = {
        "rows": args.rows,
        "meter": args.meter,
        "schedule": list(SCHEDULE),
        "share": share(args.meter, args.rows, args.episodes),
        "scaling": scaling,
    }
    print(report(results))
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
