"""Train a growth policy; watch it on val contexts; compare it with fixed schedules."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

import growenv  # noqa: F401  (registers the environments)
from agents import checkpoints, gates, schedules  # noqa: F401  (the last two register policies)
from agents.arguments import fail, keyword_values, option, parse
from agents.comparison import BEST_FIXED, Comparison
from agents.environments import episode_length, find_environment, is_growth, make_training_env
from agents.evaluation import evaluation_contexts, play_together
from agents.hyperparameters import hyperparameters
from agents.learned import algorithm, build, describe, load_policy
from agents.policy import PolicyFactory, PolicySpec
from agents.report import table
from agents.run_folder import CHECKPOINT, COMPARISON, RunFolder
from agents.saving import SavedFileError, write_atomically
from agents.search import best_fixed_schedule
from agents.training import Recorder, monitored, train
from agents.validation import Evaluator, SeededEpisodes, ValContexts

STEPS = 300_000
VAL_EPISODES = 64
STOPPED = 130  # exit code of a process that Ctrl-C ended


@dataclass
class Args:
    """Options of the command line."""

    algo: str = option("ppo", "algorithm: ppo, a2c, dqn; with sb3-contrib maskable-ppo, qr-dqn, recurrent-ppo")
    env: str = option("growenv/MixedDigits-v0", "environment id; module:namespace/Name-v0 imports the module first")
    n: int = option(0, f"environment steps in all; 0: {STEPS:,}, or those of the resumed run", "-n")
    n_envs: int = option(64, "rows: environments that are played in lock-step")
    seed: int = option(0, "seed of the agent and of its environments")
    env_kwargs: list[str] = option([], "environment options as name:value, for example tasks:3")
    log_folder: str = option("runs", "run folders are made in here")
    resume: str = option("", "run folder to go on with; algorithm, environment and seed are the run's")
    device: str = option("cpu", "where the growing networks live; for other environments, the agent's network")


def main(args: Args, words: Sequence[str]) -> int:
    """Train, then compare; returns the exit code."""
    run, setting, state = open_run(args, words)
    total = int(setting["n"])
    print(f"run folder: {run.path}", flush=True)

    env = monitored(make_env(setting), run, state)
    model = make_model(setting, env)
    manifest = describe(setting["algo"], setting["architecture"], env, **environment_record(setting))
    recorder = Recorder(run, manifest, make_evaluator(setting), total, say=say, state=state)
    try:
        train(model, recorder, state)
    except KeyboardInterrupt:
        return stop(run, recorder)
    finally:
        env.close()
    print(f"trained for {model.num_timesteps:,} steps; best return on val: {recorder.best:.3f}", flush=True)
    if is_growth(setting["env"]):
        compare(run, total // episode_length(env))
    return 0


def open_run(args: Args, words: Sequence[str]) -> tuple[RunFolder, dict[str, Any], dict[str, Any] | None]:
    """The run's folder, its setting, and its checkpoint if it is resumed."""
    if args.resume:
        run = RunFolder.existing(args.resume)
        setting = run.config()
        refuse_other(args, setting)
        state = checkpoints.read(run.file(CHECKPOINT))
        setting["n"] = args.n or setting["n"]
        algorithm(setting["algo"])
        find_environment(setting["env_with_module"])
        run.note(setting, words)
        return run, setting, state
    setting = new_setting(args)
    run = RunFolder.claim(args.log_folder, args.algo, setting["env"])
    run.note(setting, words)
    return run, setting, None


def new_setting(args: Args) -> dict[str, Any]:
    """What a run is made of, as plain types; builds nothing but checks everything that can be checked."""
    algorithm(args.algo)
    env_id, kwargs = find_environment(args.env), keyword_values(args.env_kwargs)
    if args.n < 0 or args.n_envs < 1 or not 0 <= args.seed < 2**31:
        raise ValueError(f"-n {args.n} --n-envs {args.n_envs} --seed {args.seed}: expected n >= 0, n-envs >= 1, seed >= 0")
    trial = make_training_env(env_id, 1, kwargs)  # a wrong option must not leave a run folder behind
    options, architecture = hyperparameters(args.algo, args.n_envs, episode_length(trial))
    trial.close()
    return {
        "algo": args.algo,
        "env": env_id,
        "env_with_module": args.env,
        "env_kwargs": kwargs,
        "n": args.n or STEPS,
        "n_envs": args.n_envs,
        "seed": args.seed,
        "device": args.device,
        "hyperparameters": options,
        "architecture": architecture,
    }


def refuse_other(args: Args, setting: dict[str, Any]) -> None:
    """A resumed run keeps what it was made with: refuse flags that say otherwise."""
    given = {**dataclasses.asdict(args), "env_kwargs": keyword_values(args.env_kwargs)}
    for field in dataclasses.fields(args):
        name, standard = field.name, {} if field.name == "env_kwargs" else field.default
        kept = setting["env_with_module" if name == "env" else name] if name in setting else standard
        if name not in ("n", "log_folder", "resume") and given[name] not in (standard, kept):
            raise ValueError(f"{args.resume} was made with {name} {kept!r}, not {given[name]!r}; leave the flag out to resume")


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
    return ValContexts(config, evaluation_contexts(config, "val", VAL_EPISODES))


def published_config(setting: dict[str, Any]) -> Any:
    """The environment's configuration as the user asked for it, without what training switches off."""
    import gymnasium

    registered = gymnasium.registry[setting["env"]].kwargs
    return growenv.GrowthConfig.from_options(**{**registered, **setting["env_kwargs"]})


def environment_record(setting: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says of the environment."""
    record = {"environment": {"id": setting["env"], "kwargs": setting["env_kwargs"]}}
    return {**record, "config": published_config(setting).to_json()} if is_growth(setting["env"]) else record


def stop(run: RunFolder, recorder: Recorder) -> int:
    """Save what training had reached before Ctrl-C and say how to go on."""
    saved = recorder.write()
    print(f"\nstopped at {recorder.num_timesteps:,} steps; everything is saved in {run.path}" if saved else "\nstopped")
    print(f"go on with: python train_agent.py --resume {shlex.quote(str(run.path))}", flush=True)
    return STOPPED


def compare(run: RunFolder, trained_episodes: int) -> None:
    """Print how the best policy compares with fixed schedules on val contexts that chose neither of them."""
    policy = load_policy(run.path)
    config = growenv.GrowthConfig.from_json(policy.manifest["config"])
    small = trained_episodes < 1000  # a trial run should not end in a long comparison
    count, episodes = (16, 240) if small else (VAL_EPISODES, 1000)
    contexts = evaluation_contexts(config, "val", VAL_EPISODES + 2 * count)[VAL_EPISODES:]
    say(f"comparing with fixed schedules: a search of {episodes} episodes on {count} val contexts, then {count} others ...")
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


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="You have specified a mini-batch size")
    try:
        sys.exit(main(parse(Args, __doc__ or ""), ["python", *sys.argv]))
    except (ValueError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(STOPPED)
