"""Where does a learned policy put neurons, and what does that change? The same growth, placed in different ways.

    python experiments/placement.py RUN... [--contexts 256] [--split test] [--out docs/results/placement]

Each RUN was trained with the option `where:tile`. On the same contexts and inner seeds:

- the learned policy, which names a region of tiles with every request;
- its growth request by request (when, layer, neurons), but placed greedily, in strips, or on a random tile where it
  fits. A request that has no place there is left out;
- the learned policy's final networks, annealed: what a mapping tool would reach that may move everything.

Writes results.json and two pictures: `floorplan.png`, the first context's last network under the learned policy and
under greedy placement, and `occupancy.png`, mean neurons on every tile over all contexts.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.evaluation import EpisodeRecord, action_table, evaluation_contexts, make_vector_env, play
from agents.learned import load_policy
from agents.policy import Actions, Interface, Mask, Observations, Policy, PolicyFactory, legal_or_wait, without_regions
from agents.statistics import mean_interval, paired_interval
from growenv.actions import WAIT
from growenv.config import GrowthConfig
from growenv.hardware import MosaicMeter
from growenv.hardware.mosaic.anneal import anneal
from growenv.hardware.mosaic.drawing import draw_floorplan, draw_key, key_height
from growenv.hardware.mosaic.floorplan import Floorplan
from growenv.randomness import Purpose, uniform
from growenv.streams import Context

ROOT = Path(__file__).resolve().parent.parent
LEARNED, GREEDY, STRIPS, RANDOM = "learned", "greedy", "row_major", "random"
ANNEALED = 32
"""Networks that are annealed; each takes a second or so."""


class Replay:
    """Asks for what was asked for in recorded episodes, row by row; where actions name regions, in a random one."""

    name = "replay"

    def __init__(self, interface: Interface, wanted: Sequence[NDArray[np.int64]]) -> None:
        self.interface, self.wanted, self.decision = interface, np.stack(wanted), 0

    def reset(self, rows: Mask) -> None:
        """All rows begin together."""
        self.decision = 0

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """The recorded request, or waiting where it is illegal."""
        wanted, regions = self.wanted[:, self.decision], max(1, self.interface.actions.regions)
        draw = uniform(np.arange(len(wanted)), Purpose.POLICY, 0, self.decision, 3)
        self.decision += 1
        if regions == 1:
            return legal_or_wait(wanted, masks)
        legal = masks[:, 1:].reshape(len(masks), -1, regions)[np.arange(len(wanted)), np.maximum(wanted - 1, 0)]
        chosen = (legal.cumsum(axis=1) <= (draw * legal.sum(axis=1))[:, None]).sum(axis=1)
        grows = (wanted != WAIT) & legal.any(axis=1)
        return np.where(grows, 1 + (wanted - 1) * regions + np.minimum(chosen, regions - 1), WAIT).astype(np.int64)


@dataclass(frozen=True)
class Played:
    """Episodes of one way to place, and the fabrics at their ends."""

    records: list[EpisodeRecord]
    plans: list[Floorplan]
    env: Any


def play_through(factory: PolicyFactory, config: GrowthConfig, contexts: Sequence[Context]) -> Played:
    """Play all contexts at once and look at the fabrics that are left."""
    made: list[Any] = []

    def make(config: GrowthConfig, rows: int) -> Any:
        made.append(make_vector_env(config, rows))
        return made[0]

    records = play(factory, config, contexts, rows=len(contexts), make_env=make)
    env = made[0]
    networks = env.admission.architecture(env.episodes)
    return Played(records, [env.admission.placed.floorplan(networks, row) for row in range(len(contexts))], env)


def ways(folder: str, contexts: Sequence[Context]) -> dict[str, Played]:
    """The learned policy, and its growth placed in other ways."""
    policy = load_policy(folder)
    config = GrowthConfig.from_json(policy.manifest["config"])
    if config.where != "tile":
        raise ValueError(f"{folder} was trained with where={config.where!r}; train with --env-kwargs where:tile")
    played = {LEARNED: play_through(policy.bind, config, contexts)}
    actions = action_table(config)
    wanted = [without_regions(np.array(record.actions), actions) for record in played[LEARNED].records]

    def again(interface: Interface) -> Policy:
        return Replay(interface, wanted)

    auto = replace(config, where="auto")
    played[GREEDY] = play_through(again, auto, contexts)
    strips = MosaicMeter("digits" if config.meter == "mosaic" else str(config.meter)[7:], placement="row_major")
    # Contexts have budgets of their own; strips need more routing from the start than the least that could be drawn.
    wide = replace(auto, meter=strips, budget=(max(0.2, config.budget[0]), config.budget[1]))
    played[STRIPS] = play_through(again, wide, contexts)
    played[RANDOM] = play_through(again, config, contexts)
    return played


def figures(played: dict[str, Played]) -> dict[str, Any]:
    """Means and intervals over contexts of every way to place, and differences to greedy placement."""
    lines = {}
    for name, one in played.items():
        columns = {
            "return": [record.return_ for record in one.records],
            "accuracy": [record.accuracy for record in one.records],
            "cost": [record.cost for record in one.records],
            "growths": [record.growth_events for record in one.records],
            **{key: [record.hardware[key] for record in one.records] for key in one.records[0].hardware},
        }
        base = {
            "return": [record.return_ for record in played[GREEDY].records],
            "mean_hops": [record.hardware["mean_hops"] for record in played[GREEDY].records],
        }
        lines[name] = {key: vars(mean_interval(values)) for key, values in columns.items()}
        if name != GREEDY:
            for key, values in base.items():
                lines[name][f"{key} minus greedy"] = vars(paired_interval(columns[key], values))
    return lines


def annealed(played: Played) -> dict[str, float]:
    """Routing of the first learned networks before and after annealing, means over networks."""
    mapping = played.env.admission.meter.mapping
    results = [anneal(mapping, row, seed=row) for row in range(min(ANNEALED, len(played.records)))]
    return {
        "networks": len(results),
        "cost_before": float(np.mean([result.before for result in results])),
        "cost_after": float(np.mean([result.after for result in results])),
        "rewritten": float(np.mean([result.rewritten for result in results])),
    }


def draw_floorplans(played: dict[str, Played], path: Path) -> None:
    """The first context's last network under the learned policy and with the same growth placed greedily."""
    plans = {name: played[name].plans[0] for name in (LEARNED, GREEDY)}
    rows, columns = plans[LEARNED].fabric_shape
    wide, side, key = 11.0, 5.2, key_height(plans[LEARNED])  # inches
    high = side * rows / columns + key + 1.1
    figure = Figure(figsize=(wide, high), facecolor="white")
    FigureCanvasAgg(figure)
    for number, (name, plan) in enumerate(plans.items()):
        record = played[name].records[0]
        box = (0.02 + 0.5 * number, (key + 0.4) / high, side / wide, side * rows / columns / high)
        axes = figure.add_axes(box)
        draw_floorplan(axes, plan)
        energy = f"{record.hardware['energy_pj']:.0f} pJ"
        words = f"{plan.memristors:,} memristors  ·  mean hops {plan.mean_hops:.2f}  ·  {energy}"
        figure.text(box[0], 1 - 0.28 / high, f"{name} places: return {record.return_:.3f}", fontsize=12, weight="bold")
        figure.text(box[0], 1 - 0.5 / high, words, fontsize=9)
    draw_key(figure.add_axes((0.02, 0.15 / high, 5.4 / wide, key / high)), plans[LEARNED])
    figure.savefig(path, dpi=110)


def draw_occupancy(played: dict[str, Played], path: Path) -> None:
    """Mean neurons of each hidden layer on every tile, over all contexts."""
    layers = played[LEARNED].plans[0].hidden.shape[2]
    shape = played[LEARNED].plans[0].fabric_shape
    names = (LEARNED, GREEDY)
    means = {name: np.mean([plan.hidden.sum(axis=1) for plan in played[name].plans], axis=0) for name in names}
    top = max(float(mean.max()) for mean in means.values())
    figure = Figure(figsize=(3.2 * layers + 1.0, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(names), layers, squeeze=False)
    for axes, name in zip(grid, names, strict=True):
        for layer, cell in enumerate(axes):
            image = cell.imshow(means[name][:, layer].reshape(shape), vmin=0.0, vmax=top, cmap="Blues")
            cell.set_title(f"{name} places, layer {layer}", fontsize=10)
            cell.set_xticks(range(shape[1]))
            cell.set_yticks(range(shape[0]))
            for tile, value in enumerate(means[name][:, layer]):
                shade = "white" if value > 0.6 * top else "black"
                cell.text(tile % shape[1], tile // shape[1], f"{value:.1f}", ha="center", va="center", color=shade)
    figure.colorbar(image, ax=grid, shrink=0.7, label="mean neurons on a tile")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Play, compare, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", help="folders of policies trained with where:tile")
    parser.add_argument("--contexts", type=int, default=256)
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", default=str(ROOT / "docs" / "results" / "placement"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"command": shlex.join(sys.argv), "split": args.split, "contexts": args.contexts}
    results["runs"] = []
    for number, run in enumerate(args.runs):
        config = GrowthConfig.from_json(load_policy(run).manifest["config"])
        played = ways(run, evaluation_contexts(config, args.split, args.contexts))
        lines = figures(played)
        results["runs"].append({"run": run, "lines": lines, "annealed": annealed(played[LEARNED])})
        for name, line in lines.items():
            shown = ("return", "accuracy", "mean_hops", "energy_pj")
            print(f"{run} {name}: " + ", ".join(f"{key} {line[key]['mean']:.4g}" for key in shown), flush=True)
        if number == 0:
            draw_floorplans(played, folder / "floorplan.png")
            draw_occupancy(played, folder / "occupancy.png")
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
