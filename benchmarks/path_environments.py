"""Steps a second of growth paths as environments; a part of `benchmarks/growth_paths.py`."""

from __future__ import annotations

import multiprocessing as mp
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments import path_tables
from growenv.paths import PathTable
from growenv.paths.table import FOLDER
from growenv.paths.vector_env import PathsVectorEnv

ROOT = Path(__file__).resolve().parent.parent
ROWS = (1, 1_024, 16_384, 65_536)
FIRST_STEP = """
import sys, time
begun = time.perf_counter()
import gymnasium, growenv
env = gymnasium.make("growenv/DigitsPaths-v0", table=sys.argv[1])
env.reset(seed=0)
env.step(1)
print(time.process_time(), time.perf_counter() - begun)
"""


def environments(quick: bool, repeats: int) -> dict[str, Any]:
    """All measurements of the environments."""
    if (FOLDER / "digits.npz").is_file():
        return {"table": "digits", **_measured("digits", quick, repeats)}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "random.npz")
        random_table().save(path)
        return {"table": "random numbers in place of digits", **_measured(path, quick, repeats)}


def random_table() -> PathTable:
    """A table of the size of the one of digits."""
    problem, rng = path_tables.problem("digits", 16), np.random.default_rng(0)
    right = rng.integers(0, 101, (2, len(problem.trials), problem.lattice.nodes))
    return PathTable(problem, right[0], right[1], {"validation": 100, "test": 100})


def _measured(table: str, quick: bool, repeats: int) -> dict[str, Any]:
    lines = []
    for rows in ROWS[:2] if quick else ROWS:
        steps = 20 if quick else max(26, min(5_200, 2**20 // rows))  # whole paths
        alone = max((stepping(table, rows, steps) for _ in range(repeats)), key=lambda line: line["processor"])
        with mp.get_context("spawn").Pool(2) as pool:
            pair = pool.starmap(stepping, [(table, rows, steps)] * 2)
        lines.append(
            {
                "rows": rows,
                "steps_per_second": alone["processor"],
                "steps_per_second_wall": alone["wall"],
                "two_processes": sum(each["processor"] for each in pair),
                "two_processes_wall": sum(each["wall"] for each in pair),
            }
        )
    return {"rows": lines, "first_step": first_step(table, repeats)}


def stepping(table: str, rows: int, steps: int) -> dict[str, float]:
    """Steps a second of processor and of wall time, infos and new episodes included; actions are drawn beside them."""
    env, rng = PathsVectorEnv(rows, table), np.random.default_rng(0)
    env.reset(seed=0)
    spent = np.zeros(2)
    for number in range(2 * steps):
        if number == steps:
            spent[:] = 0.0  # the first half is for warming up
        masks = env.action_masks()
        actions = (masks * rng.random(masks.shape, dtype=np.float32)).argmax(axis=1)
        begun = np.array([time.process_time(), time.perf_counter()])
        env.step(actions)
        spent += np.array([time.process_time(), time.perf_counter()]) - begun
    processor, wall = rows * steps / spent
    return {"processor": float(processor), "wall": float(wall)}


def first_step(table: str, repeats: int) -> dict[str, float]:
    """Seconds from the import of growenv to the end of the first step, in a fresh process."""
    found = []
    for _ in range(repeats):
        told = subprocess.run(
            [sys.executable, "-c", FIRST_STEP, table], cwd=ROOT, check=True, capture_output=True, text=True
        )
        found.append([float(word) for word in told.stdout.split()])
    processor, wall = min(found)
    return {"processor": processor, "wall": wall}
