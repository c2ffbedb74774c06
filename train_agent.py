"""Train a growth policy; watch it on val contexts; compare it with fixed schedules."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

import growenv
from agents import checkpoints, gates, schedules  # noqa: F401  (the last two register policies)
from agents.algorithms import algorithm, build
from agents.arguments import fail, keyword_values, option, parse
from agents.comparison import BEST_FIXED, Comparison
from agents.environments import episode_length, find_environment, is_growth, make_training_env
from agents.evaluation import evaluation_contexts, play_together
from agents.hyperparameters import hyperparameters
from agents.learned import describe, load_policy
from agents.policy import PolicyFactory, PolicySpec
from agents.report import table
from agents.run_folder import CHECKPOINT, COMPARISON, RunFolder
from agents.saving import write_atomically
from agents.search import best_fixed_schedule
from agents.training import Recorder, monitored, train
from agents.validation import Evaluator, SeededEpisodes, ValContexts

STEPS = 180_000
VAL_EPISODES = 64
STOPPED = 130  # exit code of a process that Ctrl-C ended


@dataclass
class Args:
    """Options of the command line."""

    algo: str = option("ppo", "algorithm: ppo, a2c, dqn; with sb3-contrib maskable-ppo, qr-dqn, recurrent-ppo")
    env: str = option("growenv/MixedDigits-v1", "environment id; module:namespace/Name-v0 imports the module first")
    n: int = option(0, f"environment steps in all; 0: {STEPS:,}, or those of the resumed run", "-n")
    n_envs: int = option(64, "rows: environments that are played in lock-step")
    seed: int = option(0, "seed of the agent and of its environments")
    env_kwargs: list[str] = option([], "environment options as name:value, for example tasks:3")
    log_folder: str = option("runs", "run folders are made in here")
    resume: str = option("", "run folder to go on with; algorithm, environment and seed are the run's")
    compare: bool = option(True, "end with a comparison with fixed schedules on val contexts")
    device: str = option("cpu", "where the growing networks live; for other environments, the agent's network")


def main(args: Args, words: Sequence[str]) -> int:
    """Train, then compare; returns the exit code."""
    run, setting, state = resumed_run(args, words) if args.resume else new_run(args, words)
    print(f"run folder: {run.path}" + (f", from {state['counters']['num_timesteps']:,} steps on" if state else ""))
    env = monitored(make_env(setting), run, state)
    model = make_model(setting, env)
    manifest = describe(setting["algo"], setting["architecture"], env, **environment_record(setting))
    recorder = Recorder(run, manifest, make_evaluator(setting), setting["n"], say=say, state=state)
    try:
        train(model, recorder, state)
    except KeyboardInterrupt:
        return stop(run, recorder)
    finally:
        env.close()
    print(f"trained for {model.num_timesteps:,} steps; best return on val: {recorder.best:.3f}", flush=True)
    if args.compare and is_growth(setting["env"]):
        compare(run, setting["n"] // episode_length(env))
    return 0


def new_run(args: Args, words: Sequence[str]) -> tuple[RunFolder, dict[str, Any], None]:
    """A new run's folder and setting; nothing is left behind when a flag is wrong."""
    algorithm(args.algo)
    env_id, kwargs = find_environment(args.env), keyword_values(args.env_kwargs)
    if args.n < 0 or args.n_envs < 1 or not 0 <= args.seed < 2**31:
        raise ValueError(
            f"-n {args.n} --n-envs {args.n_envs} --seed {args.seed}: expected n >= 0, n-envs >= 1, seed >= 0"
        )
    check_device(args.device)
    trial = make_training_env(env_id, args.n_envs, kwargs)
    options, architecture = hyperparameters(args.algo, args.n_envs, episode_length(trial))
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
    }
    if is_growth(env_id):
        published_config(setting).to_json()
    run = RunFolder.claim(args.log_folder, args.algo, env_id)
    run.note(setting, words)
    return run, setting, None


def resumed_run(args: Args, words: Sequence[str]) -> tuple[RunFolder, dict[str, Any], dict[str, Any]]:
    """The folder, setting and checkpoint of the run to go on with; only the number of steps may be another."""
    run = RunFolder.existing(args.resume)
    setting = run.config()
    kept = {**setting, "env": setting["env_flag"]}
    given = {**dataclasses.asdict(args), "env_kwargs": keyword_values(args.env_kwargs)}
    standard = {**dataclasses.asdict(Args()), "env_kwargs": {}}
    for name in ("algo", "env", "env_kwargs", "n_envs", "seed", "device"):
        if given[name] not in (standard[name], kept[name]):
            raise ValueError(
                f"{run.path} was made with {name} {kept[name]!r}, not {given[name]!r}; leave that flag out"
            )
    find_environment(setting["env_flag"])
    state = checkpoints.read(run.file(CHECKPOINT))
    setting["n"] = args.n or setting["n"]
    run.note(setting, words)
    return run, setting, state


def check_device(device: str) -> None:
    """Refuse a device that is not there."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: {str(error).splitlines()[0]}") from error


def make_env(setting: dict[str, Any]) -> Any:
    """The training environment."""
    return make_training_env(setting["env"], setting["n_envs"], setting["env_kwargs"], setting["device"])


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
    if not is_growth(setting["env"]):
        return SeededEpisodes(make_training_env(setting["env"], 16, setting["env_kwargs"]), seed=1_000_000_007)
    config = published_config(setting)
    return ValContexts(config, evaluation_contexts(config, "val", VAL_EPISODES), setting["device"])


def published_config(setting: dict[str, Any]) -> Any:
    """The environment's configuration as the user asked for it, without what training switches off."""
    registered = gymnasium.registry[setting["env"]].kwargs
    return growenv.GrowthConfig.from_options(**{**registered, **setting["env_kwargs"]})


def environment_record(setting: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says of the environment."""
    record = {"environment": {"id": setting["env"], "kwargs": setting["env_kwargs"]}}
    return {**record, "config": published_config(setting).to_json()} if is_growth(setting["env"]) else record


def stop(run: RunFolder, recorder: Recorder) -> int:
    """Save what training had reached before Ctrl-C and say how to go on."""
    if not recorder.write():
        print("\nstopped before training began", flush=True)
        return STOPPED
    print(f"\nstopped after {recorder.num_timesteps:,} steps; everything up to the last update is saved in {run.path}")
    print(f"go on with: python train_agent.py --resume {shlex.quote(str(run.path))}", flush=True)
    return STOPPED


def compare(run: RunFolder, trained_episodes: int) -> None:
    """Print how the best policy compares with fixed schedules on val contexts that chose neither of them."""
    policy = load_policy(run.path)
    config = growenv.GrowthConfig.from_json(policy.manifest["config"])
    small = trained_episodes < 1000  # a trial run should not end in a long comparison
    count, episodes = (16, 500) if small else (VAL_EPISODES, 1000)
    contexts = evaluation_contexts(config, "val", VAL_EPISODES + 2 * count)[VAL_EPISODES:]
    say(f"comparing with fixed schedules: searching with {episodes} episodes, then {count} fresh val contexts ...")
    search = best_fixed_schedule(config, contexts[:count], episodes=episodes)
    specs = [dataclasses.replace(search.best, label=BEST_FIXED), *map(PolicySpec, ("never", "static-large", "random"))]
    players: dict[str, PolicyFactory] = {policy.name: policy.bind, **{spec.name: spec for spec in specs}}
    played = play_together([(factory, contexts[count:]) for factory in players.values()], config)
    records = dict(zip(players, played, strict=True))
    comparison = Comparison(config, "val", records, (policy.name,), {BEST_FIXED: search})
    text = table(comparison)
    write_atomically(run.file(COMPARISON), (text + "\n").encode())
    print(f"\n{text}\n\nfor the test split: python evaluate.py {shlex.quote(str(run.path))}", flush=True)


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


if __name__ == "__main__":
    prepare_process()
    sys.exit(command(sys.argv[1:]))
