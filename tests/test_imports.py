"""Importing growenv does nothing but define and register; each test runs in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def fresh(code: str) -> str:
    """What a new Python process prints, warnings being errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_importing_leaves_everything_else_alone() -> None:
    """No warning, no draw, no thread setting, no data set, no agent library, no plots; twice is as good as once."""
    code = """
import importlib, random, sys
import gymnasium, numpy, torch

def state():
    numbers = numpy.random.get_state()
    drawn = random.getstate(), numbers[1].tobytes(), numbers[2:], torch.get_rng_state().tolist()
    return drawn, torch.get_num_threads(), torch.get_default_dtype(), numpy.geterr()

before = state()
import growenv
assert state() == before, "global state changed"
heavy = ("stable_baselines3", "sb3_contrib", "sklearn", "torchvision", "matplotlib", "agents", "growenv.sb3")
print([name for name in heavy if name in sys.modules])
importlib.reload(growenv)
growenv.register_environments()
print(sum(name.startswith("growenv/") for name in gymnasium.registry), growenv.__version__ != "")
"""
    assert fresh(code) == "[]\n14 True\n"


def test_ids_are_there_after_gymnasium_imports_the_module_itself() -> None:
    code = """
import gymnasium
env = gymnasium.make("growenv:growenv/SplitDigits-v1", tasks=1, minibatches=1)
env.reset(seed=0)
print(env.step(0)[2])
"""
    assert fresh(code) == "False\n"
