"""Compare learned growth policies with tuned baselines on the same contexts; verify published results."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import growenv  # noqa: F401  (registers the environments)
from agents.arguments import keyword_values, option, run_script
from agents.baselines import DEFAULT_POLICIES, expand
from agents.cache import SearchCache
from agents.contest import Contest, compare
from agents.evaluated import Evaluated, environment_config, from_folders
from agents.parallel import processes
from agents.price_sweep import PRICES, sweep_prices
from agents.published import NOTES, read_comparison, read_sweep
from agents.report.tables import table, write
from agents.search import FEWEST, STEPS
from agents.training.run_folder import versions
from agents.verify import read_results, verify_folder
from growenv.config import GrowthConfig

ROOT = Path(__file__).parent
SHIPPED = ROOT / "agents" / "default_policy"
SHIPPED_SEARCHES = ROOT / "docs" / "results" / "searches"


@dataclass
class Args:
    """Options of the command line."""

    runs: list[str] = option(
        [], "folders of trained policies, a line each; the shipped policy if none", positional=True
    )
    train_runs: list[str] = option([], "folders of runs that differ in their training seed; one line for all of them")
    env: str = option("", "environment id, for example growenv/MixedDigits-v1; that of the first run if empty")
    env_kwargs: list[str] = option([], "environment options as name:value")
    split: str = option("test", "split of the contexts: train, val, test or ood")
    contexts: int = option(128, "contexts to play")
    inner_seeds: int = option(2, "inner seeds of each context")
    policies: list[str] = option(
        list(DEFAULT_POLICIES),
        "baselines; also gates, tuned-gates, controls, searches, oracle; best-fixed always plays",
    )
    search_steps: int = option(0, "environment steps for tuning each baseline; 0: as many as the training took")
    prices: list[str] = option([], "play at these prices too: accuracy against cost; 'sweep' stands for six of them")
    verify: str = option("", "folder of results: replay a sample of its episodes and compare, nothing else")
    redraw: str = option(
        "", "folder of results: write its table, report and pictures anew from its episodes, nothing else"
    )
    sample: int = option(64, "episodes that --verify replays; 0: all")
    rows: int = option(128, "networks trained in lock-step")
    processes: int = option(1, "processes that play side by side; at most as many as there are cores")
    seed: int = option(0, "seed of the bootstrap")
    threads: int = option(1, "threads of PyTorch; more than the free cores are slow")
    cache: str = option("runs/searches", "folder in which searches are kept, so that none is done twice")
    out: str = option("runs/evaluation", "folder of results.json, table.txt, report.html, pictures and episodes")


def main(args: Args) -> int:
    """Load, compare, print and write; returns the exit code."""
    begun = time.perf_counter()
    check(args)
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    with processes(args.processes):
        if args.verify:
            return verify(args)
        if args.redraw:
            return redraw(args)
        evaluated = load(args)
        options = keyword_values(args.env_kwargs)
        config = environment_config(args.env, options, evaluated)
        expand(args.policies)  # wrong names are refused before the work
        steps = search_steps(args, config, evaluated)
        Path(args.out).mkdir(parents=True, exist_ok=True)
        cache = SearchCache(Path(args.cache), SHIPPED_SEARCHES)
        contest = Contest.on(
            config,
            args.split,
            args.contexts,
            args.inner_seeds,
            steps=steps,
            rows=args.rows,
            cache=cache,
            report=print_progress,
        )
        trained = [each.trained for each in evaluated]
        comparison = compare(contest, trained, args.policies, source=evaluated[0].config if evaluated else None)
        prices = list(PRICES) if args.prices == ["sweep"] else [float(price) for price in args.prices]
        sweep = sweep_prices(contest, trained, prices, comparison) if prices else None
    print(table(comparison, args.seed))
    paths = write(comparison, Path(args.out), args.seed, notes(evaluated), sweep)
    print(f"\n{time.perf_counter() - begun:.0f} s; wrote {', '.join(map(str, paths))}")
    return 0


def check(args: Args) -> None:
    """Refuse numbers that would only fail after minutes of work."""
    for name in ("contexts", "inner_seeds", "rows", "threads", "processes"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    for name in ("seed", "sample", "search_steps"):
        if getattr(args, name) < 0:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 0, got {getattr(args, name)}")
    for price in args.prices:
        if args.prices != ["sweep"] and not _is_price(price):
            raise ValueError(f"--prices takes numbers above 0, or the word sweep; got {price!r}")


def _is_price(word: str) -> bool:
    try:
        return 0 < float(word) < float("inf")
    except ValueError:
        return False


def search_steps(args: Args, config: GrowthConfig, evaluated: list[Evaluated]) -> int:
    """Steps that each baseline may spend on tuning: those asked for, else as many as the training took."""
    least = FEWEST * config.decisions * config.tasks
    if args.search_steps and args.search_steps < least:
        raise ValueError(f"--search-steps {args.search_steps}: a schedule is not tuned with less than {least} here")
    return args.search_steps or max(least, max([each.steps for each in evaluated], default=0) or STEPS)


def load(args: Args) -> list[Evaluated]:
    """The policies to evaluate: those of the command line, else the one that ships with the project."""
    if args.runs or args.train_runs:
        return from_folders(args.runs, args.train_runs)
    if (SHIPPED / "policy.json").exists():
        return from_folders([str(SHIPPED)], [])
    print("no trained policy given and none ships with this checkout: playing the baselines alone", file=sys.stderr)
    return []


def verify(args: Args) -> int:
    """Replay published episodes; the exit code is 1 if one of them gives other figures."""
    checked = verify_folder(Path(args.verify), args.sample, args.seed)
    print(checked)
    return 0 if checked.holds else 1


def redraw(args: Args) -> int:
    """Judge and draw published episodes anew; only those for the matrices and the single context are replayed."""
    folder = Path(args.redraw)
    comparison, published = read_comparison(folder), read_results(folder)
    told = {name: published[name] for name in NOTES if name in published}
    print(table(comparison, published["bootstrap_seed"]))
    paths = write(comparison, folder, published["bootstrap_seed"], told, read_sweep(published))
    print(f"\nwrote {', '.join(map(str, paths))}")
    return 0


def notes(evaluated: list[Evaluated]) -> Mapping[str, Any]:
    """What the results say of how they were made."""
    command = shlex.join(["python", "evaluate.py", *sys.argv[1:]])
    return {"command": command, "versions": versions(), "origins": {each.name: each.origin for each in evaluated}}


def print_progress(stage: str, done: int, total: int) -> None:
    """One line on standard error that is written over; where nobody watches, one line when a stage begins."""
    line = f"{stage}: {done:,} of at most {total:,} episodes"
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="\n" if done >= total else "", file=sys.stderr, flush=True)
    elif stage not in _told:
        _told.add(stage)
        print(line, file=sys.stderr, flush=True)


_told: set[str] = set()


if __name__ == "__main__":
    run_script(main, Args, __doc__ or "", "stopped; searches that had ended are kept, figures were not written")
