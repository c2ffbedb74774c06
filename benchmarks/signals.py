"""What do signals cost? Decisions with each of them alone, and with all, in one run.

    python benchmarks/signals.py [--rows 64] [--episodes 5] [--out FILE.json]

All variants play the same streams of the default environment with the same random legal actions, side by side: every
decision is taken by one after the other, in an order that rotates. Signals change no network, so the variants differ in
nothing but the signals. What these take is timed within the decision: the scene that they look at, and all that is
worked out of it. Their share is that, divided by the rest of the decision.

Counted is processor time, in which other processes show less than on the clock. For each decision of a stream the
median over all episodes counts. ``probe`` is the probe batch alone, which all signals but ``loss`` share: gathered,
through the network and back. The last line is that of ``signals_every=2``.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from growenv import GrowthVectorEnv
from growenv.growth.signals import ALL, Scene


class Probe:
    """Looks at a probe batch and learns nothing."""

    name = "probe"

    def features(self, layers: int) -> tuple[str, ...]:
        """One feature."""
        return ("nothing",)

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Nothing is remembered."""

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Zero, once everything has been worked out."""
        return np.zeros((len(scene.evidence.errors[0]), 1))


VARIANTS: dict[str, dict[str, Any]] = {
    "probe": {"signals": (Probe(),)},
    **{name: {"signals": (name,)} for name in ALL},
    "all": {"signals": ALL},
    "all, every 2": {"signals": ALL, "signals_every": 2},
}


class Stopwatch:
    """An environment that plays on while its signals are timed.

    Args:
        env: the environment, in which nothing has begun.
        decisions: how many it will take.
    """

    def __init__(self, env: GrowthVectorEnv, decisions: int) -> None:
        self.env, self.spent = env, 0.0
        self.whole, self.signals = np.zeros((2, decisions))
        env.scene = self._timed(env.scene)  # type: ignore[method-assign]
        env.panel.measure = self._timed(env.panel.measure)  # type: ignore[method-assign]
        env.reset(seed=0)

    def _timed(self, method: Any) -> Any:
        def timed(*arguments: Any) -> Any:
            begun = time.process_time()
            answer = method(*arguments)
            self.spent += time.process_time() - begun
            return answer

        return timed

    def step(self, turn: int, actions: NDArray[np.int64]) -> None:
        """Take a decision."""
        self.spent, begun = 0.0, time.process_time()
        self.env.step(actions)
        self.whole[turn], self.signals[turn] = time.process_time() - begun, self.spent


def measure(rows: int, episodes: int) -> dict[str, dict[str, float]]:
    """What each variant's signals take of a decision, in milliseconds, and their share of the rest of it."""
    envs = {name: GrowthVectorEnv(rows, **options) for name, options in VARIANTS.items()}
    config = envs["all"].config
    decisions = config.tasks * config.decisions
    turns = (1 + episodes) * decisions
    watches = {name: Stopwatch(env, turns) for name, env in envs.items()}
    rng, names = np.random.default_rng(0), list(watches)
    for turn in range(turns):
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in envs["all"].action_masks()])
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            watches[name].step(turn, actions)
    return {name: _shares(watch.whole, watch.signals, decisions) for name, watch in watches.items()}


def _shares(whole: NDArray[np.float64], signals: NDArray[np.float64], decisions: int) -> dict[str, float]:
    """Of episodes one after the other, of which the first only warmed up."""
    each = [np.median(part.reshape(-1, decisions)[1:], axis=0).sum() for part in (signals, whole - signals)]
    milliseconds = [float(part) / decisions * 1e3 for part in each]
    return {"signals_ms": milliseconds[0], "rest_ms": milliseconds[1], "share": milliseconds[0] / milliseconds[1]}


def report(results: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [f"{results['rows']} rows, random legal actions", "signal             ms   ms of the rest     share"]
    for name, line in results["signals"].items():
        lines.append(f"{name:<12} {line['signals_ms']:8.2f} {line['rest_ms']:16.2f} {line['share']:9.1%}")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "signals.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        "machine": {"processor": platform.processor() or platform.machine(), "threads": 1, "torch": torch.__version__},
        "rows": args.rows,
        "episodes": args.episodes,
        "signals": measure(args.rows, args.episodes),
    }
    print(report(results))
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
