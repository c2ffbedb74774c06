"""The whole study behind the README's claim: training, tuning, evaluation on four kinds of streams, pictures.

    python experiments/study.py --processes 2
    python docs/figures.py

Every step is a command of this project that can also be typed by hand; they are printed as they run. A step that has
ended is noted in the folder of runs and left out the next time, runs go on from their checkpoints, and searches are
kept, so after a kill the same command goes on. Nothing here is chosen by hand on the way: seeds, splits and numbers of
contexts stand below, and the test split is played once, at the end.
"""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agents.arguments import option, run_script  # noqa: E402
from agents.saving import write_json  # noqa: E402

SEEDS, ABLATION_SEEDS = "0..9", "0..2"
HIDDEN = ("price", "budget")
"""What the policies of the ablations are trained without, one set each."""
BASELINES = ("never", "static-large", "random", "periodic", "doubling", "best-fixed", "controls")
IMAGES = ("never", "periodic", "best-fixed", "loss-gate-tuned", "rate-matched-random")
"""Baselines on images of 28x28 pixels, where an episode costs more."""

PARALLEL = ("--processes", "--jobs")
"""Flags that change how long a step takes, and nothing else."""


@dataclass
class Args:
    """Options of the command line."""

    runs: str = option("runs/study", "folder of the training runs and of the notes on what is done")
    out: str = option("docs/results", "folder of the results")
    processes: int = option(1, "processes that train or play side by side; at most as many as there are cores")
    only: list[str] = option([], "names of the steps to take, for example train test; all if none")
    dry: bool = option(False, "print the commands and run nothing")


@dataclass(frozen=True)
class Step:
    """A command with a name."""

    name: str
    words: tuple[str, ...]

    @property
    def key(self) -> str:
        """Another command is another step; how many processes it uses does not matter."""
        beside = {place + step for place, word in enumerate(self.words) if word in PARALLEL for step in (0, 1)}
        asked = [word for place, word in enumerate(self.words) if place not in beside]
        return hashlib.sha256("\0".join(asked).encode()).hexdigest()[:16]


def steps(args: Args) -> list[Step]:
    """All steps of the study, in order."""
    runs, out = Path(args.runs), Path(args.out)
    several = ("--processes", str(args.processes))
    training = ("train_agent.py", "--jobs", str(args.processes), "--no-compare")
    learned = ("--train-runs", str(runs / "ppo" / "*"))
    blind = tuple(str(runs / f"without-{words}" / "ppo" / "*") for words in HIDDEN)
    images = ("--contexts", "128", "--inner-seeds", "1", "--policies", *IMAGES)
    found = [Step("train", (*training, "--seeds", SEEDS, "--log-folder", str(runs)))]
    found += [
        Step(f"train-without-{words}", (*training, "--seeds", ABLATION_SEEDS, "--hide", words, "--log-folder", folder))
        for words, folder in ((words, str(runs / f"without-{words}")) for words in HIDDEN)
    ]
    test = ("--contexts", "256", "--policies", *BASELINES, "gates", "searches", "oracle", "--prices", "sweep")
    found += [
        Step("curves", ("experiments/learning.py", "--runs", str(runs / "ppo" / "*"), "--out", str(out / "learning"))),
        Step("test", ("evaluate.py", *learned, *blind, *test, *several, "--out", str(out / "mixed-digits"))),
        Step(
            "ood",
            (
                *("evaluate.py", *learned, "--split", "ood", "--contexts", "256", "--inner-seeds", "1"),
                *("--policies", *BASELINES, "tuned-gates", *several, "--out", str(out / "mixed-digits-ood")),
            ),
        ),
    ]
    found += [
        Step(
            name.lower(),
            (
                *("evaluate.py", *learned, "--env", f"growenv/Mixed{name}-v1", *images),
                *(*several, "--out", str(out / f"mixed-{name.lower()}")),
            ),
        )
        for name in ("MNIST", "FashionMNIST")
    ]
    return found


def main(args: Args) -> int:
    """Take every step that has not been taken; returns the exit code."""
    wanted = steps(args)
    if unknown := sorted(set(args.only) - {step.name for step in wanted}):
        raise ValueError(f"no step is called {', '.join(unknown)}; there are {', '.join(step.name for step in wanted)}")
    for step in wanted:
        if args.only and step.name not in args.only:
            continue
        note = ROOT / args.runs / "done" / f"{step.name}-{step.key}.json"
        if note.exists():
            print(f"{step.name}: done before", flush=True)
            continue
        words = expanded(step.words)
        print(f"{step.name}: {shlex.join(['python', *words])}", flush=True)
        if args.dry:
            continue
        begun = time.monotonic()
        code = subprocess.run([sys.executable, *words], cwd=ROOT, check=False).returncode
        if code != 0:
            print(f"{step.name} ended with code {code}; the same command goes on from here", file=sys.stderr)
            return code
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, {"command": shlex.join(["python", *words]), "seconds": round(time.monotonic() - begun)})
    return 0


def expanded(words: Sequence[str]) -> list[str]:
    """The words with patterns of folders replaced by the folders, in the order of their numbers."""
    found: list[str] = []
    for word in words:
        places = [Path(place) for place in glob(str(ROOT / word))] if "*" in word else []
        folders = [place.relative_to(ROOT) if place.is_relative_to(ROOT) else place for place in places]
        found += map(str, sorted(folders, key=lambda path: (len(path.name), path.name))) if folders else [word]
    return found


if __name__ == "__main__":
    run_script(main, Args, __doc__ or "")
