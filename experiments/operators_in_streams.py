"""Which growth operator is best inside the environment? The same schedules on the same contexts, started in all ways.

    python experiments/operators_in_streams.py [--contexts 256] [--split val] [--out docs/results/growth]

Every operator plays two fixed schedules: the smallest request for each layer in every task, and the largest ones in the
first task. Only how the new neurons start differs, so schedules, costs and contexts are the same; the differences in
accuracy to random growth are paired by context. `random-live` draws vectors as short as most other operators' are.

Writes operators_in_streams.json. Accuracy is that on validation samples after the last task, mean over tasks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents import schedules  # noqa: F401  (registers the policies)
from agents.evaluation import evaluation_contexts, play
from agents.families import per_task_spec
from agents.policy import PolicySpec
from agents.statistics import mean_interval, paired_interval
from experiments.growing import ALL, BASE, RESULTS, chosen_operators, make_operator, operator_name, spread, write
from growenv.config import GrowthConfig
from growenv.streams import Context


def schedules_of(config: GrowthConfig) -> dict[str, PolicySpec]:
    """A small and a large schedule."""
    small = (min(config.amounts),) * len(config.hidden)
    large = (max(config.amounts),) * len(config.hidden)
    return {"small": per_task_spec(config, small, small), "large": per_task_spec(config, large, small)}


def played(operator: str, schedule: PolicySpec, contexts: Sequence[Context], protection: str) -> dict[str, Any]:
    """Accuracies at the end, growths and seconds of one operator under one schedule."""
    config = GrowthConfig(growth=make_operator(operator), protection=protection)
    begun = time.perf_counter()
    records = play(schedule, config, contexts)
    return {
        "accuracy": [record.accuracy for record in records],
        "growths": sum(record.growth_events for record in records) / len(records),
        "seconds": time.perf_counter() - begun,
    }


def main() -> None:
    """Play, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--contexts", type=int, default=256)
    parser.add_argument("--split", default="val", choices=("train", "val", "test", "ood"))
    parser.add_argument("--protection", default="freeze")
    parser.add_argument("--operators", nargs="+", type=operator_name, default=[ALL], help='or "all"')
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.contexts < 2:
        parser.error(f"--contexts must be at least 2, got {args.contexts}")
    torch.set_num_threads(1)
    config = GrowthConfig(protection=args.protection)
    contexts = evaluation_contexts(config, args.split, args.contexts)
    lines = []
    for name, schedule in schedules_of(config).items():
        accuracy: dict[str, list[float]] = {}
        for operator in chosen_operators(args.operators):
            own = played(operator, schedule, contexts, args.protection)
            accuracy[operator] = own.pop("accuracy")
            line: dict[str, Any] = {"schedule": name, "words": schedule.name, "operator": operator, **own}
            line["accuracy"] = vars(mean_interval(accuracy[operator]))
            line["difference"] = vars(paired_interval(accuracy[operator], accuracy[BASE]))
            lines.append(line)
            percent = spread(line["accuracy"], 100.0), spread(line["difference"], 100.0, signed=True)
            print(f"{name:<6} {operator:<18} {percent[0]} %, minus {BASE} {percent[1]}  ({own['seconds']:.1f} s)")
    write(args.out / "operators_in_streams.json", args, {"lines": lines})


if __name__ == "__main__":
    main()
