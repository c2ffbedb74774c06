"""Do signals help a learned growth policy? PPO with and without groups of them, five training seeds each.

    python experiments/signals.py [--seeds 5] [--jobs 2] [--runs runs/signals] [--out docs/results/signals]

Trains every variant with every seed by `train_agent.py` (runs that are finished already are used again), then plays all
policies on val contexts that the training did not look at. No test context is touched: this is a choice among options.
The differences to the variant without signals are paired by training seed and context, and their intervals redraw both.

Writes results.json and differences.png.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.evaluation import evaluation_contexts, play
from agents.learned import load_policy
from agents.statistics import Interval, crossed_interval, mean_interval
from agents.training.run_folder import versions
from growenv.config import GrowthConfig
from growenv.growth.signals import ALL

ROOT = Path(__file__).resolve().parent.parent
VARIANTS: dict[str, tuple[str, ...]] = {
    "none": (),
    "curves": ("loss", "gap"),
    "gradients": ("gradmax", "gradient", "firefly", "gain"),
    "activity": ("rank", "dead"),
    "saturation": ("senn", "noracl"),
    "all": ALL,
}
WATCHED = 64
"""Val contexts that the training looks at to choose a checkpoint; they are left out here."""


def train(folder: Path, signals: Sequence[str], seed: int, steps: int, environment: str) -> Path:
    """The run folder of one training run; trains it unless it is there."""
    parent = folder / str(seed)
    done = parent / "done.txt"
    if not done.exists():
        flags = ["--env", environment, "--seed", str(seed), "--log-folder", str(parent), "-n", str(steps)]
        flags += ["--no-compare", "--env-kwargs", "signals:" + json.dumps(list(signals))]
        parent.mkdir(parents=True, exist_ok=True)
        with (parent / "log.txt").open("w") as log:
            command = [sys.executable, str(ROOT / "train_agent.py"), *flags]
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **THREADS})
        newest = max(parent.glob("ppo/*/policy.json"), key=lambda path: path.stat().st_mtime).parent
        done.write_text(f"{newest.relative_to(parent)}\n")
        print(f"trained {newest}", flush=True)
    return parent / done.read_text().strip()


THREADS = {"OMP_NUM_THREADS": "1"}


def returns(run: Path, contexts: int) -> NDArray[np.float64]:
    """Returns of a policy on the val contexts that no training has looked at, (C,)."""
    policy = load_policy(run)
    config = GrowthConfig.from_json(policy.manifest["config"])
    drawn = evaluation_contexts(config, "val", WATCHED + contexts)[WATCHED:]
    return np.array([record.return_ for record in play(policy.bind, config, drawn)])


def compare(tables: dict[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """One line for each variant: return, difference to the first, both with intervals; (seeds, contexts) tables."""
    base = next(iter(tables.values()))
    lines = []
    for name, table in tables.items():
        line: dict[str, Any] = {
            "variant": name,
            "signals": list(VARIANTS[name]),
            "return": vars(crossed_interval(table)),
        }
        line["by_seed"] = table.mean(axis=1).tolist()
        if table is not base:
            line["difference"] = vars(crossed_interval(table - base))
            line["difference_by_seed"] = [vars(mean_interval(row)) for row in table - base]
        lines.append(line)
    return lines


def words(line: dict[str, Any]) -> str:
    """What the interval says."""
    interval = Interval(**line["difference"])
    if interval.covers_zero:
        return "no difference to be seen"
    return "better than without" if interval.low > 0 else "worse than without"


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """Differences to no signals: mean and interval, and every seed's mean as a dot."""
    shown = [line for line in lines if "difference" in line]
    figure = Figure(figsize=(7.5, 0.55 * len(shown) + 1.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, line in enumerate(shown):
        interval = Interval(**line["difference"])
        axes.plot([interval.low, interval.high], [place, place], color="#1f4e79", linewidth=2.5)
        axes.plot(interval.mean, place, "o", color="#1f4e79", markersize=8)
        seeds = [each["mean"] for each in line["difference_by_seed"]]
        axes.plot(seeds, [place + 0.18] * len(seeds), ".", color="#999999", markersize=6)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(shown)), [line["variant"] for line in shown])
    axes.invert_yaxis()
    axes.set_xlabel("return minus return without signals (bar: 95 % over seeds and contexts; dots: training seeds)")
    axes.xaxis.label.set_size(9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Train, play, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="training seeds of each variant, at least 2")
    parser.add_argument("--steps", type=int, default=180_000, help="environment steps of each training run")
    parser.add_argument("--contexts", type=int, default=256, help="val contexts to compare on")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--environment", default="growenv/MixedDigits-v1")
    parser.add_argument("--jobs", type=int, default=2, help="training runs at a time")
    parser.add_argument("--runs", default=str(ROOT / "runs" / "signals"), help="folder of the training runs")
    parser.add_argument("--out", default=str(ROOT / "docs" / "results" / "signals"))
    args = parser.parse_args()
    if args.seeds < 2 or args.contexts < 2 or args.jobs < 1:
        parser.error("--seeds and --contexts must be at least 2, --jobs at least 1")
    torch.set_num_threads(1)
    variants = ["none", *(name for name in args.variants if name != "none")]
    jobs = [(name, seed) for seed in range(args.seeds) for name in variants]
    with ThreadPoolExecutor(args.jobs) as pool:
        folders = list(
            pool.map(
                lambda job: train(Path(args.runs) / job[0], VARIANTS[job[0]], job[1], args.steps, args.environment),
                jobs,
            )
        )
    runs = dict(zip(jobs, folders, strict=True))
    tables = {
        name: np.stack([returns(runs[name, seed], args.contexts) for seed in range(args.seeds)]) for name in variants
    }
    lines = compare(tables)
    for line in lines:
        difference = f"{Interval(**line['difference'])}  {words(line)}" if "difference" in line else ""
        print(f"{line['variant']:<11} return {Interval(**line['return'])}  difference {difference}")
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"seeds": args.seeds, "steps": args.steps, "contexts": args.contexts, "split": "val"}
    results = {"command": shlex.join(sys.argv), "versions": versions(), **settings, "lines": lines}
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(lines, folder / "differences.png")


if __name__ == "__main__":
    main()
