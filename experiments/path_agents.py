"""How close to the known optimum of a lattice of growth paths do agents come, and after how many episodes?

    python experiments/path_agents.py --elsewhere fashion-mnist --processes 2
    python experiments/path_agents.py --objective anytime --processes 2
    python experiments/path_agents.py --table fashion-mnist --elsewhere digits --processes 2
    python docs/figures.py

Every agent plays the same number of episodes with each seed. It is told the rewards of the episodes that it plays, each
in a trial drawn at random among the first half of the trials, and nothing else; the lattice is known, the table is not.
Now and then its best actions are played in every trial of that half, of the held-out half and, with ``--elsewhere``, of
another table. Regret is what the best single path gets there on average, minus what the agent gets. Runs are kept, so
after a kill the same command goes on. Writes <table>-<objective>.json and .png.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agents.arguments import option, run_script  # noqa: E402
from agents.parallel import processes, spread  # noqa: E402
from agents.paths.by_name import AGENTS, make_agent, recipe  # noqa: E402
from agents.paths.curves import Curve, checkpoints, draw, together  # noqa: E402
from agents.paths.judging import Judge  # noqa: E402
from agents.saving import read_json, write_json  # noqa: E402
from agents.training.run_folder import versions  # noqa: E402
from agents.training.several_seeds import parse_seeds  # noqa: E402
from growenv.paths.objective import Objective  # noqa: E402
from growenv.paths.table import PathTable  # noqa: E402
from growenv.registry import unknown_name  # noqa: E402


@dataclass
class Args:
    """Options of the command line."""

    table: str = option("digits", "digits, fashion-mnist, or the path of a table")
    elsewhere: str = option("", "another table, by name or path, in which agents are judged as well; none by default")
    objective: str = option("final", "what a return is: final or anytime")
    price: float = option(0.0, "accuracy lost if all decisions trained the target")
    agents: list[str] = option(list(AGENTS), "agents by name")
    seeds: str = option("0..9", "seeds, each a run of every agent")
    episodes: int = option(51_200, "episodes of each run")
    processes: int = option(1, "runs side by side")
    runs: str = option("runs/path-agents", "folder in which finished runs are kept")
    out: str = option("docs/results/growth-paths/agents", "folder of the results")


@dataclass(frozen=True)
class Run:
    """One agent with one seed."""

    agent: str
    seed: int
    episodes: int

    def file(self, folder: Path, contents: str) -> Path:
        """Where it is kept; another table or objective, `contents`, or other hyper-parameters are another run."""
        made = hashlib.sha256(json.dumps(recipe(self.agent), sort_keys=True).encode()).hexdigest()[:8]
        return folder / contents / f"{self.agent}-{made}-{self.episodes}-{self.seed}.json"


def main(args: Args) -> None:
    """Run what has not been run, put together, draw."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if unknown := sorted(set(args.agents) - set(AGENTS)):
        raise unknown_name("agent", unknown[0], AGENTS)
    if set(args.agents) != set(AGENTS) and args.out == Args().out:
        raise ValueError(
            f"--agents {' '.join(args.agents)}: a file of some agents would replace that of all; give it a folder of "
            "its own with --out"
        )
    seeds, wanted = parse_seeds(args.seeds), checkpoints(args.episodes)
    table = PathTable.load(args.table)
    other = PathTable.load(args.elsewhere) if args.elsewhere else None
    judge = Judge(table, Objective(args.objective, args.price), other)
    folder, contents = Path(args.runs), digest(judge)
    runs = [Run(agent, seed, args.episodes) for seed in seeds for agent in args.agents]
    missing = [run for run in runs if not run.file(folder, contents).is_file()]
    with processes(args.processes):
        for number, points in spread(partial(play, judge, wanted), missing):
            run = missing[number]
            run.file(folder, contents).parent.mkdir(parents=True, exist_ok=True)
            write_json(run.file(folder, contents), {"points": points})
            print(line(run, points), flush=True)
    curves = {
        agent: [read_json(run.file(folder, contents))["points"] for run in runs if run.agent == agent]
        for agent in args.agents
    }
    name = f"{Path(args.table).stem}-{args.objective}" + (f"-price-{args.price:g}" if args.price else "")
    write(Path(args.out), name, results(args, judge, curves))


def play(judge: Judge, wanted: Sequence[int], run: Run) -> list[dict[str, Any]]:
    """The curve of one run."""
    agent = make_agent(run.agent, judge, run.seed)
    curve = Curve(judge, wanted)
    agent.learn(run.episodes, curve)
    return curve.points


def digest(judge: Judge) -> str:
    """A short name of what is played."""
    objective, numbers = judge.objective, hashlib.sha256()
    for table in filter(None, (judge.table, judge.elsewhere)):
        numbers.update(table.validation.tobytes() + table.test.tobytes())
    numbers.update(json.dumps([objective.kind, objective.price, objective.metric]).encode())
    return numbers.hexdigest()[:12]


def results(args: Args, judge: Judge, curves: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> dict[str, Any]:
    """Everything that is written."""
    references = judge.references()
    bar = {split: min(regret[split] for regret in references["orders"].values()) for split in judge.splits}
    return {
        "settings": {
            "table": Path(args.table).stem,
            "objective": args.objective,
            "price": args.price,
            "metric": judge.objective.metric,
            "steps": list(judge.table.problem.steps),
            "waits": judge.table.problem.waits,
            **({"elsewhere": Path(args.elsewhere).stem} if args.elsewhere else {}),
            "trials": {split: judge.trials(split) for split in judge.splits},
            "episodes": args.episodes,
            "seeds": list(parse_seeds(args.seeds)),
            "processes": args.processes,
            "agents": [recipe(agent) for agent in args.agents],
        },
        "references": references,
        "agents": {agent: together(seeds, bar) for agent, seeds in curves.items()},
        "versions": versions(),
    }


def write(out: Path, name: str, found: Mapping[str, Any]) -> None:
    """Write numbers and picture."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", found)
    draw(found, out / f"{name}.png")
    print(f"wrote {out / name}.json and .png")


def line(run: Run, points: Sequence[Mapping[str, Any]]) -> str:
    """What is printed of a finished run."""
    last = points[-1]
    regret = ", ".join(f"{split} {100 * value:.2f}" for split, value in last["regret"].items())
    now = time.strftime("%H:%M:%S")
    return f"{now} {run.agent} seed {run.seed}: regret in points {regret}; {last['seconds']:.0f} s"


if __name__ == "__main__":
    run_script(main, Args, __doc__ or "")
