"""Learning curves of the study: how fast policies get better than the best fixed schedule.

    python experiments/learning.py --runs runs/study/ppo/growenv-MixedDigits-v1_* --out docs/results/learning

The best fixed schedule plays the same val contexts and inner seeds that watched the training runs; it was tuned on
other ones of train and val, with as many environment steps as a run took.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agents.arguments import fail, option, parse  # noqa: E402
from agents.cache import SearchCache  # noqa: E402
from agents.comparison import BEST_FIXED  # noqa: E402
from agents.contest import Contest, tuned  # noqa: E402
from agents.evaluated import from_folders  # noqa: E402
from agents.saving import write_json  # noqa: E402
from agents.training.learning_curves import draw_learning_curves, seconds_to_reach  # noqa: E402
from agents.training.progress import read_progress  # noqa: E402
from agents.training.run_folder import versions  # noqa: E402
from train_agent import VAL_EPISODES  # noqa: E402


@dataclass
class Args:
    """Options of the command line."""

    runs: list[str] = option([], "folders of runs that differ in their training seed")
    cache: str = option("runs/searches", "folder in which searches are kept")
    out: str = option("docs/results/learning", "folder of results.json and curves.png")


def main(args: Args) -> None:
    """Play the reference, draw, write."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if not args.runs:
        raise ValueError("--runs needs at least one folder of a run")
    (evaluated,) = from_folders([], args.runs)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    contest = Contest.on(
        evaluated.config, "val", VAL_EPISODES, steps=evaluated.steps, cache=SearchCache(Path(args.cache))
    )
    (played,) = contest.play(BEST_FIXED, [tuned(contest, BEST_FIXED).best])
    reference = float(np.mean([record.return_ for record in played]))
    seconds = seconds_to_reach(args.runs, reference)
    draw_learning_curves(args.runs, out / "curves.png", reference)
    write_json(
        out / "results.json",
        {
            "best_fixed": reference,
            "val_contexts": VAL_EPISODES,
            "steps": int(evaluated.steps),
            "seconds_to_reach_best_fixed": [round(float(s), 1) if np.isfinite(s) else None for s in seconds],
            "runs": [_curve(run) for run in args.runs],
            "versions": versions(),
        },
    )
    print(f"best fixed schedule {reference:.3f}; reached after {', '.join(f'{s:.0f} s' for s in seconds)}")


def _curve(run: str) -> dict[str, Any]:
    """The columns of a run's progress, unknown values as None."""
    return {
        name: [round(float(value), 4) if np.isfinite(value) else None for value in values]
        for name, values in read_progress(run).items()
    }


if __name__ == "__main__":
    try:
        main(parse(Args, __doc__ or ""))
    except (ValueError, OSError) as error:
        fail(error)
