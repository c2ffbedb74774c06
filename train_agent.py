"""Train a growth policy; watch it on val contexts; compare it with fixed schedules."""

from __future__ import annotations

import dataclasses
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

import growenv
from agents import gates, schedules  # noqa: F401  (they register policies)
from agents.algorithms import algorithm, build
from agents.arguments import fail, keyword_values, option, parse
from agents.baselines import kind_of
from agents.comparison import BEST_FIXED, Comparison, Player
from agents.environments import episode_length, find_environment, is_growth, is_paths, make_training_env
from agents.evaluation import evaluation_contexts, play_together
from agents.hidden_features import hide
from agents.hyperparameters import hyperparameters
from agents.learned import describe, load_policy
from agents.parallel import processes
from agents.paths.training import PathTrials, against_orders, judge_of
from agents.policy import PolicyFactory, PolicySpec
from agents.report.tables import table
from agents.saving import MANIFEST, TENSORS, write_atomically
from agents.search import best_fixed_schedule
from agents.training import checkpoints
from agents.training.recorder import Recorder, monitored, train
from agents.training.run_folder import CHECKPOINT, COMPARISON, RunFolder
from agents.training.several_seeds import STOPPED, parse_seeds, train_seeds
from agents.training.tracking import Tracker, track, tracker_module
from agents.training.tuned import changed, read_tuned
from agents.training.validation import Evaluator, SeededEpisodes, ValContexts

STEPS = 180_000
VAL_EPISODES = 64


@dataclass
class Args:
    """Options of the command line."""

    algo: str = option("ppo", "algorithm: ppo, a2c, dqn; with sb3-contrib maskable-ppo, qr-dqn, recurrent-ppo")
    env: str = option("growenv/MixedDigits-v1", "environment id; module:namespace/Name-v0 imports the module first")
    n: int = option(0, f"environment steps in all; 0: {STEPS:,}, or those of the resumed run", "-n")
    n_envs: int = option(64, "rows: environments that are played in lock-step")
    seed: int = option(0, "seed of the agent and of its environments")
    env_kwargs: list[str] = option([], "environment options as name:value, for example tasks:3")
    seeds: str = option("", "seeds 0..9 or 0,3,5, each in its own run; given again, what is finished is left out")
    jobs: int = option(1, "with --seeds: processes at a time")
    log_folder: str = option("runs", "run folders are made in here")
    resume: str = option("", "run folder to go on with; algorithm, environment and seed are the run's")
    compare: bool = option(True, "end with a comparison with fixed schedules on val contexts; not with several seeds")
    hide: list[str] = option([], "what the agent must not see, shown as 0: price, budget, or names of features")
    tuned: str = option("", "best.json of agents.tune_agent: its hyper-parameters instead of the built-in ones")
    track: str = option("", "experiment tracker: wandb or mlflow")
    device: str = option("cpu", "where the growing networks live; for other environments, the agent's network")


def main(args: Args, words: Sequence[str]) -> int:
    """Train one seed or several; returns the exit code."""
    check_flags(args, words)
    if args.track:
        tracker_module(args.track)
    if args.seeds:
        return train_several(args, words)
    if args.resume:
        with RunFolder.existing(args.resume).held() as run:
            setting, state = resumed_setting(args, run, words)
            return train_one(args, run, setting, state)
    setting = new_setting(args)
    run = RunFolder.claim(args.log_folder, args.algo, setting["env"])
    run.note(setting, words)
    with run.held():
        return train_one(args, run, setting, None)


def check_flags(args: Args, words: Sequence[str]) -> None:
    """Refuse flags that contradict each other or would have no effect."""
    if args.seeds and args.resume:
        raise ValueError("--seeds with --resume: a study goes on by the command that began it; leave --resume out")
    if args.seeds and _given("--seed", words):
        raise ValueError(f"--seeds {args.seeds} with --seed {args.seed}: give one of the two")
    if not args.seeds and _given("--jobs", words):
        raise ValueError(f"--jobs {args.jobs}: it needs --seeds, for example --seeds 0..9")
    if args.jobs < 1:
        raise ValueError(f"--jobs {args.jobs}: at least one process is needed")
    if args.resume and args.tuned:
        raise ValueError("--tuned with --resume: a run keeps its hyper-parameters; leave --tuned out")


def _given(flag: str, words: Sequence[str]) -> bool:
    return any(word == flag or word.startswith(flag + "=") for word in words)


def train_several(args: Args, words: Sequence[str]) -> int:
    """Train several seeds, each by a process of this script; returns the exit code."""
    seeds = parse_seeds(args.seeds)
    setting = new_setting(dataclasses.replace(args, seed=seeds[0]))
    compared = args.compare and (len(seeds) == 1 or _given("--compare", words))

    def child(seed: int, run: RunFolder | None) -> list[str]:
        own = dataclasses.replace(args, seed=seed, seeds="", jobs=1, compare=compared)
        if run is not None:
            own = Args(resume=str(run.path), compare=compared, track=args.track)
        return [sys.executable, os.path.abspath(__file__), *words_of(own)]

    return train_seeds(seeds, setting, args.log_folder, child, jobs=args.jobs, say=say)


def words_of(args: Args) -> list[str]:
    """The command line that `args` stands for."""
    standard, words = dataclasses.asdict(Args()), []
    for name, value in dataclasses.asdict(args).items():
        flag = "--" + name.replace("_", "-")
        if value == standard[name]:
            continue
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, *map(str, value if isinstance(value, list) else [value])]
    return words


def train_one(args: Args, run: RunFolder, setting: dict[str, Any], state: dict[str, Any] | None) -> int:
    """Train a run to its end and compare; returns the exit code."""
    print(f"run folder: {run.path}" + (f", from {state['counters']['num_timesteps']:,} steps on" if state else ""))
    env = monitored(make_env(setting), run, state)
    model = make_model(setting, env)
    manifest = describe(setting["algo"], setting["architecture"], env, **environment_record(setting, env))
    tracker = track(args.track, run.path.name, setting, run.path, say) if args.track else None
    recorder = Recorder(run, manifest, make_evaluator(setting), setting["n"], say=say, state=state, tracker=tracker)
    try:
        train(model, recorder, state)
    except KeyboardInterrupt:
        code = stop(run, recorder)
        _end(tracker, run, complete=False)
        return code
    finally:
        env.close()
    recorder.finish()
    _end(tracker, run, complete=True)
    say(f"trained for {model.num_timesteps:,} steps; best return on {recorder.played}: {recorder.best:.3f}")
    if args.compare and is_growth(setting["env"]):
        with processes(cores()):
            compare(run, model.num_timesteps)
    elif args.compare and is_paths(setting["env"]):
        compare_with_orders(run, setting)
    return 0


def _end(tracker: Tracker | None, run: RunFolder, *, complete: bool) -> None:
    """Hand the policy's files to the tracker."""
    if tracker is not None:
        files = [run.file(name) for name in (MANIFEST, TENSORS)]
        tracker.finish([file for file in files if file.exists()], complete=complete)


def new_setting(args: Args) -> dict[str, Any]:
    """The setting of a new run; nothing is written, so nothing is left behind when a flag is wrong."""
    algorithm(args.algo)
    env_id, kwargs = find_environment(args.env), keyword_values(args.env_kwargs)
    if args.n < 0 or args.n_envs < 1 or not 0 <= args.seed < 2**31:
        raise ValueError(
            f"-n {args.n} --n-envs {args.n_envs} --seed {args.seed}: expected n >= 0, n-envs >= 1, seed >= 0"
        )
    check_device(args.device)
    hidden = sorted(set(args.hide))
    trial = hide(make_training_env(env_id, args.n_envs, kwargs), hidden)
    options, architecture = hyperparameters(args.algo, args.n_envs, episode_length(trial))
    if args.tuned:
        options, architecture = changed(options, architecture, *read_tuned(args.tuned, args.algo), args.n_envs)
    build(args.algo, trial, args.seed, options=options, architecture=architecture)  # it may not fit the environment
    trial.close()
    setting = {
        "algo": args.algo,
        "env": env_id,
        "env_flag": args.env,
        "env_kwargs": kwargs,
        "n": args.n or STEPS,
        "n_envs": args.n_envs,
        "seed": args.seed,
        "device": args.device,
        "hyperparameters": options,
        "architecture": architecture,
        "hide": hidden,
    }
    if is_growth(env_id):
        published_config(setting).to_json()
    return setting


def resumed_setting(args: Args, run: RunFolder, words: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The setting and checkpoint of the run to go on with; only the number of steps may be another."""
    setting = run.config()
    kept = {**setting, "env": setting["env_flag"]}
    given = {**dataclasses.asdict(args), "env_kwargs": keyword_values(args.env_kwargs), "hide": sorted(set(args.hide))}
    standard = {**dataclasses.asdict(Args()), "env_kwargs": {}}
    for name in ("algo", "env", "env_kwargs", "n_envs", "seed", "device", "hide"):
        if given[name] not in (standard[name], kept[name]):
            raise ValueError(
                f"{run.path} was made with {name} {kept[name]!r}, not {given[name]!r}; leave that flag out"
            )
    find_environment(setting["env_flag"])
    state = checkpoints.read(run.file(CHECKPOINT))
    setting["n"] = args.n or setting["n"]
    run.note(setting, words)
    return setting, state


def check_device(device: str) -> None:
    """Refuse a device that is not there."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: {str(error).splitlines()[0]}") from error


def make_env(setting: dict[str, Any]) -> Any:
    """The training environment."""
    env = make_training_env(setting["env"], setting["n_envs"], setting["env_kwargs"], setting["device"])
    return hide(env, setting["hide"])


def make_model(setting: dict[str, Any], env: Any) -> BaseAlgorithm:
    """The algorithm, untrained."""
    return build(
        setting["algo"],
        env,
        setting["seed"],
        options=setting["hyperparameters"],
        architecture=setting["architecture"],
        device="cpu" if is_growth(setting["env"]) else setting["device"],  # a small network is fastest on the CPU
    )


def make_evaluator(setting: dict[str, Any]) -> Evaluator:
    """What policies are judged by during training; shares nothing with the training environment."""
    if is_paths(setting["env"]):
        return PathTrials(judge_of(setting["env"], setting["env_kwargs"]))
    if not is_growth(setting["env"]):
        return SeededEpisodes(make_training_env(setting["env"], 16, setting["env_kwargs"]), seed=1_000_000_007)
    config = published_config(setting)
    return ValContexts(config, evaluation_contexts(config, "val", VAL_EPISODES), setting["device"])


def published_config(setting: dict[str, Any]) -> Any:
    """The environment's configuration as the user asked for it, without what training switches off."""
    registered = gymnasium.registry[setting["env"]].kwargs
    return growenv.GrowthConfig.from_options(**{**registered, **setting["env_kwargs"]})


def environment_record(setting: dict[str, Any], env: Any) -> dict[str, Any]:
    """What the manifest says of the environment."""
    record: dict[str, Any] = {"environment": {"id": setting["env"], "kwargs": setting["env_kwargs"]}}
    if setting["hide"]:
        record["hidden"] = list(env.hidden_names)
    return {**record, "config": published_config(setting).to_json()} if is_growth(setting["env"]) else record


def stop(run: RunFolder, recorder: Recorder) -> int:
    """Save what training had reached before Ctrl-C and say how to go on."""
    if not recorder.write():
        print("\nstopped before training began", flush=True)
        return STOPPED
    print(f"\nstopped after {recorder.num_timesteps:,} steps; everything up to the last update is saved in {run.path}")
    print(f"go on with: python train_agent.py --resume {shlex.quote(str(run.path))}", flush=True)
    return STOPPED


def compare(run: RunFolder, steps: int) -> None:
    """Print how the best policy compares with fixed schedules on val contexts that chose neither of them."""
    policy = load_policy(run.path)
    config = growenv.GrowthConfig.from_json(policy.manifest["config"])
    small = steps < 1000 * config.tasks * config.decisions  # a trial run should not end in a long comparison
    count, episodes = (16, 500) if small else (VAL_EPISODES, 1000)
    contexts = evaluation_contexts(config, "val", VAL_EPISODES + 2 * count)[VAL_EPISODES:]
    say(f"comparing with fixed schedules: searching with {episodes} episodes, then {count} fresh val contexts ...")
    search = best_fixed_schedule(config, contexts[:count], episodes=episodes)
    specs = [dataclasses.replace(search.best, label=BEST_FIXED), *map(PolicySpec, ("never", "static-large", "random"))]
    factories: list[PolicyFactory] = [policy.bind, *specs]
    played = play_together([(factory, contexts[count:]) for factory in factories], config)
    learned, *others = map(tuple, played)
    players = [Player(policy.name, "learned", (learned,), steps=steps)]
    for spec, records in zip(specs, others, strict=True):
        tuning = search.steps if spec.name == BEST_FIXED else 0
        players.append(Player(spec.name, kind_of(spec), (records,), steps=tuning))
    comparison = Comparison(config, "val", 1, tuple(players), {BEST_FIXED: search})
    text = table(comparison)
    write_atomically(run.file(COMPARISON), (text + "\n").encode())
    print(f"\n{text}\n\nfor the test split: python evaluate.py {shlex.quote(str(run.path))}", flush=True)


def compare_with_orders(run: RunFolder, setting: dict[str, Any]) -> None:
    """Print how far the best policy is from the known optimum of growth paths, beside fixed orders."""
    text = against_orders(load_policy(run.path), judge_of(setting["env"], setting["env_kwargs"]))
    write_atomically(run.file(COMPARISON), (text + "\n").encode())
    print(f"\n{text}", flush=True)


def cores() -> int:
    """Processes for the comparison: one for each core, or this one alone where PyTorch has several threads."""
    if torch.get_num_threads() > 1 or not hasattr(os, "sched_getaffinity"):
        return 1
    return len(os.sched_getaffinity(0))


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def command(words: Sequence[str]) -> int:
    """Run the command line; an error that the user can mend is one line, and the exit code 2."""
    try:
        return main(parse(Args, __doc__ or "", words), ["python", "train_agent.py", *words])
    except (ValueError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return STOPPED


def prepare_process() -> None:
    """One thread: a second one gains nothing on networks this small and costs dearly where cores are shared.

    Moments that decay to denormal numbers would slow the one thread down, so they are flushed to zero.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's SIGTERM saves as Ctrl-C does


if __name__ == "__main__":
    prepare_process()
    sys.exit(command(sys.argv[1:]))
