"""How often does each limit refuse growth? A random policy asks, and every request is counted by its answer.

    python experiments/refusals.py [--out docs/results/refusals.json]

The policy waits in half of all decisions and else asks for any growth with equal probability, legal or not. "auto" lets
the hardware choose the tile, so a request is refused only if no tile will do; with "tile" the request names one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import growenv  # noqa: F401  (registers the ids)
from growenv import GrowthVectorEnv

ROOT = Path(__file__).resolve().parent.parent
IDS = ("growenv/MixedDigits-v1", "growenv/MixedMNIST-v1")


def count(env_id: str, where: str, rows: int, seed: int) -> dict[str, Any]:
    """One episode in each row: shares of the answers, and the accuracy that is reached."""
    env = GrowthVectorEnv(rows, **{**gymnasium.registry[env_id].kwargs, "where": where})
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    answers: Counter[str] = Counter()
    infos: dict[str, Any] = {}
    for _ in range(env.config.tasks * env.config.decisions):
        actions = np.where(rng.random(rows) < 0.5, 0, rng.integers(1, env.actions.size, rows))
        codes = env.admission.codes[np.arange(rows), actions][actions > 0]
        answers.update(env.admission.reasons[code] or "granted" for code in codes)
        infos = env.step(actions)[4]
    final, asked = infos["final_info"], sum(answers.values())
    return {
        "id": env_id,
        "where": where,
        "requests": asked,
        "shares": {answer: answers[answer] / asked for answer in ("granted", *env.admission.reasons[1:])},
        "accuracy": float(final["validation_accuracy"].mean()),
        "widths": final["widths"].mean(axis=0).tolist(),
    }


def main() -> None:
    """Count, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(ROOT / "docs" / "results" / "refusals.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = [count(env_id, where, args.rows, args.seed) for env_id in IDS for where in ("auto", "tile")]
    for line in results:
        shares = ", ".join(f"{answer} {share:.1%}" for answer, share in line["shares"].items() if share)
        print(f"{line['id']} {line['where']}: {shares}; accuracy {line['accuracy']:.3f}")
    Path(args.out).write_text(json.dumps({"rows": args.rows, "seed": args.seed, "lines": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
