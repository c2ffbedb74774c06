"""Tunes an agent's hyper-parameters on val contexts; needs Optuna: ``pip install optuna``.

    python -m agents.tune_agent --trials 20 --algo ppo --storage journal:study.log --study ppo-mixed

A trial trains one setting with the same few training seeds as all others. Its score is the mean return of the policies
at the end of training on val contexts, always with the same inner seeds, so trials differ by their setting alone. After
each seed, a trial whose mean so far is below the median of the others' is given up (median stopping rule: Golovin et
al. 2017, "Google Vizier: a service for black-box optimization"). Settings are proposed by a tree-structured Parzen
estimator (Bergstra et al. 2011, "Algorithms for hyper-parameter optimization"); the built-in setting is tried first.
Test contexts are not looked at, and the training seeds are none that a study would report.

Storage. Without ``--storage`` a study lives in this process. Several processes, each started with the same command but
a ``--seed`` of its own, work on one study together:

- on one machine: ``--storage journal:study.log``. The file is only ever appended to, under a lock.
- on several machines: a server, ``--storage postgresql://user:password@host/base`` or ``mysql://...``; create the base
  first and install its driver (psycopg2-binary, mysqlclient).
- SQLite, ``sqlite:///study.db``, suits one process. It locks the whole file for each write, so parallel processes end
  with "database is locked", and on network file systems its locks do not hold.

A study that was killed goes on with the same command; a trial that was under way is lost.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

import growenv
from agents.algorithms import algorithm, build
from agents.arguments import fail, keyword_values, option, parse
from agents.environments import episode_length, find_environment, is_growth, make_training_env
from agents.evaluation import evaluation_contexts
from agents.hyperparameters import ALGORITHMS, hyperparameters
from agents.learned import describe
from agents.saving import write_json
from agents.training.tuned import changed
from agents.training.validation import ValContexts

FIRST_SEED = 1000  # training seeds begin here, far from those of studies
FEWEST_SEEDS = 3
STOPPED = 130

Score = Callable[[Mapping[str, Any], Mapping[str, Any], int], float]


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; `log` for those whose size matters."""

    low: float
    high: float
    log: bool = False


ACTOR_CRITIC: dict[str, Range | tuple[Any, ...]] = {
    "learning_rate": Range(1e-4, 3e-3, log=True),
    "n_epochs": (2, 4, 8, 12, 16),
    "minibatches": (1, 2, 4, 8),
    "n_steps": (5, 10, 15, 30),
    "gae_lambda": Range(0.8, 1.0),
    "clip_range": Range(0.1, 0.4),
    "ent_coef": Range(1e-4, 3e-2, log=True),
    "vf_coef": Range(0.25, 1.0),
}
VALUE_BASED: dict[str, Range | tuple[Any, ...]] = {
    "learning_rate": Range(1e-4, 3e-3, log=True),
    "batch_size": (64, 128, 256, 512),
    "gradient_steps": (1, 2, 4, 8),
    "target_update_interval": (500, 1_000, 2_000, 5_000),
    "exploration_fraction": Range(0.1, 0.6),
    "gamma": Range(0.95, 1.0),
}
NETWORKS = ("32,32", "64,64", "128,128", "64,64,64")


@dataclass
class Args:
    """Options of the command line."""

    trials: int = option(20, "trials of this process")
    algo: str = option("ppo", "algorithm, as in train_agent.py")
    env: str = option("growenv/MixedDigits-v1", "environment id of this package or of a user's registration of it")
    env_kwargs: list[str] = option([], "environment options as name:value, for example tasks:3")
    n: int = option(60_000, "environment steps of each training", "-n")
    n_envs: int = option(64, "rows: environments that are played in lock-step")
    seeds: int = option(3, f"training seeds of each trial, at least {FEWEST_SEEDS}")
    contexts: int = option(64, "val contexts that score a policy")
    inner_seeds: int = option(1, "inner seeds of each context")
    storage: str = option("", "journal:FILE, or the URL of a data base; see the top of agents/tune_agent.py")
    study: str = option("growenv", "name of the study in the storage")
    seed: int = option(0, "seed of the proposals; another one for every process of a study")
    out: str = option("best.json", "file for the best setting")


def main(args: Args) -> int:
    """Tune; returns the exit code."""
    optuna = import_optuna()
    score = make_score(args)
    study = optuna.create_study(
        study_name=args.study,
        storage=make_storage(optuna, args.storage),
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=args.seed, multivariate=True, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0),
    )
    check_same(study, args)
    if not study.trials:
        study.enqueue_trial(built_in(args.algo))
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)

    def objective(trial: Any) -> float:
        """Mean return over the training seeds; hopeless trials end early."""
        changes, network = suggest(trial, args.algo)
        returns: list[float] = []
        for number, seed in enumerate(seeds):
            returns.append(score(changes, network, seed))
            trial.report(float(np.mean(returns)), number)
            if number + 1 < len(seeds) and trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(returns))

    def keep(study: Any, trial: Any) -> None:
        value = "given up" if trial.value is None or trial.state.name == "PRUNED" else f"return {trial.value:.4f}"
        print(f"trial {trial.number}: {value}, {trial.params}", flush=True)
        write_best(study, args)

    # A setting that diverges raises; it is a bad setting, not the end of the study.
    study.optimize(objective, n_trials=args.trials, callbacks=[keep], catch=(ValueError,))
    return tell(study, args)


def import_optuna() -> Any:
    """The package.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ValueError("agents.tune_agent needs the package optuna; run: pip install optuna") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def make_storage(optuna: Any, text: str) -> Any:
    """The storage of a study, None for one that lives in this process.

    Raises:
        ValueError: it cannot be opened.
    """
    if not text:
        return None
    kind, _, rest = text.partition(":")
    try:
        if kind == "journal":
            if not rest:
                raise ValueError("the file is missing")
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

            return JournalStorage(JournalFileBackend(rest))
        return optuna.storages.get_storage(text)
    except Exception as error:  # drivers, servers and files fail in ways of their own
        reason = " ".join(str(error).split())
        raise ValueError(
            f"--storage {text}: {reason}; expected journal:FILE or a URL such as postgresql://user:password@host/base"
        ) from error


def check_same(study: Any, args: Args) -> None:
    """Refuse to mix scores of different things in one study.

    Raises:
        ValueError: the study was begun with other options.
    """
    known, own = study.user_attrs.get("setting"), scored(args)
    if known is None:
        study.set_user_attr("setting", own)
    elif known != own:
        other = [name for name in own if known.get(name) != own[name]]
        text = ", ".join(f"{name} {known.get(name)!r} instead of {own[name]!r}" for name in other)
        raise ValueError(f"the study {args.study!r} was begun with {text}; choose another --study")


def scored(args: Args) -> dict[str, Any]:
    """What a score depends on besides the hyper-parameters."""
    names = ("algo", "env", "n", "n_envs", "seeds", "contexts", "inner_seeds")
    return {**{name: asdict(args)[name] for name in names}, "env_kwargs": keyword_values(args.env_kwargs)}


def space(algo: str) -> dict[str, Range | tuple[Any, ...]]:
    """The hyper-parameters of an algorithm that are tuned; the built-in values are always possible."""
    own = ALGORITHMS[algo][0]
    table = VALUE_BASED if "buffer_size" in own else ACTOR_CRITIC
    wide: dict[str, Range | tuple[Any, ...]] = {}
    for name, values in table.items():
        if name not in own or not isinstance(own[name], int | float):
            continue
        if isinstance(values, Range):
            wide[name] = Range(min(values.low, own[name]), max(values.high, own[name]), values.log)
        else:
            wide[name] = values if own[name] in values else (*values, own[name])
    return wide


def built_in(algo: str) -> dict[str, Any]:
    """The parameters of the trial that is tried first."""
    own, network = ALGORITHMS[algo]
    return {**{name: own[name] for name in space(algo)}, "net_arch": _text(network)}


def suggest(trial: Any, algo: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hyper-parameters and entries of the architecture that a trial proposes."""
    changes: dict[str, Any] = {}
    for name, values in space(algo).items():
        if isinstance(values, Range):
            changes[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
        else:
            changes[name] = trial.suggest_categorical(name, values)
    own = _text(ALGORITHMS[algo][1])
    chosen = trial.suggest_categorical("net_arch", NETWORKS if own in NETWORKS else (*NETWORKS, own))
    return changes, {"net_arch": [int(size) for size in chosen.split(",")]}


def _text(network: Mapping[str, Any]) -> str:
    return ",".join(map(str, network["net_arch"]))


def make_score(args: Args) -> Score:
    """Trains a setting with a seed and plays the val contexts; the mean return.

    Raises:
        ValueError: an option is wrong.
    """
    algorithm(args.algo)
    env_id, kwargs = find_environment(args.env), keyword_values(args.env_kwargs)
    if not is_growth(env_id):
        raise ValueError(f"--env {args.env}: tuning plays val contexts, which only growth environments have")
    if min(args.trials, args.n, args.n_envs) < 1 or args.seeds < FEWEST_SEEDS:
        raise ValueError(
            f"--trials {args.trials} -n {args.n} --n-envs {args.n_envs} --seeds {args.seeds}: expected at least one "
            f"trial, step and row, and {FEWEST_SEEDS} training seeds"
        )
    config = growenv.GrowthConfig.from_options(**{**gymnasium.registry[env_id].kwargs, **kwargs})
    evaluate = ValContexts(config, evaluation_contexts(config, "val", args.contexts, args.inner_seeds))
    build(args.algo, make_training_env(env_id, args.n_envs, kwargs))  # it may not fit the environment

    def score(changes: Mapping[str, Any], network: Mapping[str, Any], seed: int) -> float:
        """Return of one training seed on val."""
        env = make_training_env(env_id, args.n_envs, kwargs)
        try:
            standard = hyperparameters(args.algo, args.n_envs, episode_length(env))
            options, architecture = changed(*standard, changes, network, args.n_envs)
            model = build(args.algo, env, seed, options=options, architecture=architecture)
            model.learn(args.n, log_interval=None)  # type: ignore[arg-type]
            found = evaluate(model.policy, describe(args.algo, architecture, env))
        finally:
            env.close()
        return float(found.results.mean())

    return score


def write_best(study: Any, args: Args) -> bool:
    """Write the best setting so far; False if no trial has ended yet."""
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    if not complete:
        return False
    best = study.best_trial
    changes = {name: value for name, value in best.params.items() if name != "net_arch"}
    states = [trial.state.name for trial in study.trials]
    write_json(
        Path(args.out),
        {
            "algo": args.algo,
            "hyperparameters": changes,
            "architecture": {"net_arch": [int(size) for size in best.params["net_arch"].split(",")]},
            "val_return": best.value,
            "trial": best.number,
            "trials": {"complete": len(complete), "given_up": states.count("PRUNED"), "failed": states.count("FAIL")},
            "setting": scored(args),
        },
    )
    return True


def tell(study: Any, args: Args) -> int:
    """Say what was found and how to use it; the exit code."""
    if not write_best(study, args):
        raise ValueError(f"all {len(study.trials)} trials failed; nothing is written")
    best = study.best_trial
    print(f"best of {len(study.trials)} trials: return {best.value:.4f} on val (trial {best.number}), in {args.out}")
    print(f"train with it: python train_agent.py --algo {args.algo} --tuned {args.out}", flush=True)
    return 0


def command(words: Sequence[str]) -> int:
    """Run the command line; an error that the user can mend is one line, and the exit code 2."""
    try:
        return main(parse(Args, (__doc__ or "").splitlines()[0], words))
    except (ValueError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on if the study has a --storage", file=sys.stderr)
        return STOPPED


if __name__ == "__main__":
    torch.set_num_threads(1)  # networks this small gain nothing from more
    torch.set_flush_denormal(True)
    sys.exit(command(sys.argv[1:]))
