"""Compare trained policies with fixed schedules, gates and random growth on the same contexts and inner seeds."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from agents.arguments import fail, keyword_values, option, parse
from agents.comparison import DEFAULT_POLICIES, check_names, compare
from agents.policy import PolicyFactory
from agents.report import table, write
from growenv.config import GrowthConfig

SHIPPED = Path(__file__).parent / "agents" / "default_policy"


@dataclass
class Args:
    """Options of the command line."""

    runs: list[str] = option([], "folders of trained policies; the shipped policy if none", positional=True)
    env: str = option("", "environment id, for example growenv/MixedDigits-v0; that of the first run if empty")
    env_kwargs: list[str] = option([], "environment options as name:value")
    split: str = option("test", "split of the contexts: train, val, test or ood")
    contexts: int = option(128, "contexts to play")
    inner_seeds: int = option(1, "inner seeds of each context")
    policies: list[str] = option(list(DEFAULT_POLICIES), "baselines to play; best-fixed always plays")
    search_episodes: int = option(5000, "most episodes of the search for the best fixed schedule")
    rows: int = option(128, "networks trained in lock-step")
    seed: int = option(0, "seed of the bootstrap")
    out: str = option("runs/evaluation", "folder of results.json, episodes.csv, table.txt and growth_timeline.png")


def main(args: Args) -> None:
    """Load, compare, print and write."""
    begun = time.perf_counter()
    learned = load_runs(args.runs)
    config = environment_config(args, learned)
    factories: dict[str, PolicyFactory] = {name: policy.bind for name, policy in learned.items()}
    check_names(args.policies, factories)
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
    paths = write(comparison, Path(args.out), args.seed)
    print(f"\n{time.perf_counter() - begun:.0f} s; wrote {', '.join(map(str, paths))}")


def load_runs(folders: list[str]) -> dict[str, Any]:
    """The learned policies by name; two of one name are told apart by their folders."""
    from agents.learned import load_policy

    if not folders and not (SHIPPED / "policy.json").exists():
        print("no trained policy given and none ships with this checkout: playing the baselines alone", file=sys.stderr)
        return {}
    paths = [Path(folder) for folder in folders] or [SHIPPED]
    policies = [load_policy(path) for path in paths]
    names = [policy.name for policy in policies]
    return {
        name if names.count(name) == 1 else f"{name} {path.name}": policy
        for name, path, policy in zip(names, paths, policies, strict=True)
    }


def environment_config(args: Args, learned: dict[str, Any]) -> GrowthConfig:
    """The environment to play: the one asked for, else that of the first run, with the given options on top."""
    options = keyword_values(args.env_kwargs)
    if args.env:
        return GrowthConfig.from_options(**{**registered_options(args.env), **options})
    if learned:
        first = next(iter(learned.values()))
        return GrowthConfig.from_options(GrowthConfig.from_json(first.manifest["config"]), **options)
    return GrowthConfig.from_options(**options)


def registered_options(env_id: str) -> dict[str, Any]:
    """The options under which a growenv environment is registered."""
    import gymnasium

    import growenv  # noqa: F401  (registers the environments)

    try:
        spec = gymnasium.spec(env_id)
    except gymnasium.error.Error as error:
        raise ValueError(str(error)) from error
    unknown = set(spec.kwargs) - {field.name for field in fields(GrowthConfig)}
    if unknown:
        raise ValueError(f"{env_id} is no growenv environment: it takes the options {sorted(unknown)}")
    return dict(spec.kwargs)


def print_progress(stage: str, done: int, total: int) -> None:
    """One line on standard error that is written over; a new line for each stage's end."""
    end = "\n" if done >= total else ""
    print(f"\r{stage}: {done:,} of {total:,} episodes ", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main(parse(Args, __doc__ or ""))
    except (ValueError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit("\nstopped; nothing was written")
