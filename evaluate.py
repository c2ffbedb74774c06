"""Compare trained policies with fixed schedules, gates and random growth on the same contexts and inner seeds."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import torch

import growenv  # noqa: F401  (registers the environments)
from agents.arguments import fail, keyword_values, option, parse
from agents.comparison import DEFAULT_POLICIES, check_names, compare
from agents.environments import find_environment, is_growth
from agents.learned import LearnedPolicy, load_policy
from agents.policy import PolicyFactory
from agents.report import table, write
from agents.run_folder import versions
from agents.search import FEWEST
from growenv.config import GrowthConfig
from growenv.registry import UnknownNameError
from growenv.vector_env import GrowthVectorEnv

SHIPPED = Path(__file__).parent / "agents" / "default_policy"


@dataclass
class Args:
    """Options of the command line."""

    runs: list[str] = option([], "folders of trained policies; the shipped policy if none", positional=True)
    env: str = option("", "environment id, for example growenv/MixedDigits-v1; that of the first run if empty")
    env_kwargs: list[str] = option([], "environment options as name:value")
    split: str = option("test", "split of the contexts: train, val, test or ood")
    contexts: int = option(128, "contexts to play")
    inner_seeds: int = option(1, "inner seeds of each context")
    policies: list[str] = option(
        list(DEFAULT_POLICIES), "baselines; best-fixed always plays, gates = all gates, tuned too"
    )
    search_episodes: int = option(5000, "most episodes of the best fixed schedule's search; a gate has a tenth")
    rows: int = option(128, "networks trained in lock-step")
    seed: int = option(0, "seed of the bootstrap")
    threads: int = option(1, "threads of PyTorch; more than the free cores are slow")
    out: str = option("runs/evaluation", "folder of results.json, episodes.csv, table.txt and growth_timeline.png")


def main(args: Args) -> None:
    """Load, compare, print and write."""
    begun = time.perf_counter()
    check(args)
    torch.set_num_threads(args.threads)
    learned = load_runs(args.runs)
    config = environment_config(args, learned)
    factories: dict[str, PolicyFactory] = {name: policy.bind for name, policy in learned.items()}
    check_names(args.policies, factories)
    Path(args.out).mkdir(parents=True, exist_ok=True)  # better now than after the work
    comparison = compare(
        config,
        factories,
        split=args.split,
        contexts=args.contexts,
        inner_seeds=args.inner_seeds,
        policies=args.policies,
        episodes=args.search_episodes,
        rows=args.rows,
        report=print_progress,
    )
    print(table(comparison, args.seed))
    notes = {"command": shlex.join(sys.argv), "versions": versions(), "origins": origins(learned)}
    paths = write(comparison, Path(args.out), args.seed, notes)
    print(f"\n{time.perf_counter() - begun:.0f} s; wrote {', '.join(map(str, paths))}")


def check(args: Args) -> None:
    """Refuse numbers that would only fail after minutes of work."""
    for name in ("contexts", "inner_seeds", "rows", "threads"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    if args.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {args.seed}")
    if args.search_episodes < FEWEST:
        raise ValueError(f"--search-episodes must be at least {FEWEST}, got {args.search_episodes}")


def load_runs(folders: list[str]) -> dict[str, LearnedPolicy]:
    """The learned policies by name; those of one name are told apart by their folders."""
    if not folders and not (SHIPPED / "policy.json").exists():
        print("no trained policy given and none ships with this checkout: playing the baselines alone", file=sys.stderr)
        return {}
    if len(set(folders)) < len(folders):
        raise ValueError(f"a run was given twice: {' '.join(folders)}")
    paths = [Path(folder) for folder in folders] or [SHIPPED]
    policies = [load_policy(path) for path in paths]
    names = [policy.name for policy in policies]
    return {
        name if names.count(name) == 1 else f"{name} {path}": policy
        for name, path, policy in zip(names, paths, policies, strict=True)
    }


def origins(learned: dict[str, LearnedPolicy]) -> dict[str, Any]:
    """What tells the learned policies apart: algorithm, training environment and checksum of the tensors."""
    entries = ("algorithm", "environment", "training", "tensors")
    return {name: {e: policy.manifest[e] for e in entries if e in policy.manifest} for name, policy in learned.items()}


def environment_config(args: Args, learned: dict[str, LearnedPolicy]) -> GrowthConfig:
    """The environment to play: the one asked for, else that of the runs, with the given options on top."""
    options = keyword_values(args.env_kwargs)
    if args.env:
        return GrowthConfig.from_options(**{**registered_options(args.env), **options})
    trained = {name: policy.manifest.get("config") for name, policy in learned.items()}
    configs = [config for config in trained.values() if config is not None]
    if len(configs) < len(trained):
        foreign = next(name for name, config in trained.items() if config is None)
        raise ValueError(f"policy {foreign!r} was not trained in a growenv environment")
    if any(config != configs[0] for config in configs):
        raise ValueError("the runs were trained in different environments; choose one for all with --env")
    config = GrowthConfig.from_options(GrowthConfig.from_json(configs[0]) if configs else None, **options)
    try:
        GrowthVectorEnv(1, config).close()
    except UnknownNameError as error:
        hint = "a name of your own is known once --env module:Namespace/Name-v0 has imported its module"
        raise ValueError(f"{error}; {hint}") from error
    return config


def registered_options(env_id: str) -> dict[str, Any]:
    """The options under which a growenv environment is registered."""
    known = find_environment(env_id)
    if not is_growth(known):
        raise ValueError(f"{known} is no growenv environment: it has no contexts and no schedules to compare with")
    return dict(gymnasium.registry[known].kwargs)


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
    try:
        main(parse(Args, __doc__ or ""))
    except (ValueError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        sys.exit(130)
