"""What all continual-learning experiments share: protocols, cases, and a runner that can be killed and goes on.

A case is one line of a table: a system under a protocol and a scenario. Its seeds are the rows of one stack, trained
together by `growenv.learner.Learner`. Every case is written to a file of its own when it is done, so an experiment that
was stopped goes on with the cases that are missing; a case whose settings have changed is run again.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from agents.parallel import processes, spread
from agents.saving import SavedFileError, read_json, write_json
from agents.training.run_folder import versions
from experiments.continual_protocols import Case, Part, Protocol, Schedule, stream
from growenv.config import GrowthConfig
from growenv.hardware import Architecture
from growenv.learner import Learner
from growenv.protection import PROTECTIONS
from growenv.streams import Context
from growenv.streams.tasks import digest

__all__ = ["Case", "Outcome", "Part", "Protocol", "Schedule", "main", "run", "run_all", "stream"]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "continual"
QUICK = ROOT / "runs" / "continual"
ALL_TEST_SAMPLES = 10**9


@dataclass(frozen=True)
class Outcome:
    """What came of a case. Arrays are nested lists, so that files hold them as they are.

    Attributes:
        key: which case.
        hash: digest of its settings.
        matrix: test accuracy on task j after training task i, (N, T, T).
        untrained: test accuracy on each task before any training, (N, T).
        units: units that each layer got in each task, those of the start in the first, (N, T, L).
        parameters: weights and biases at the end, heads included, (N,).
        network_bytes: their bytes at 4 each, (N,).
        memory_bytes: what the protection keeps besides, (N,).
        macs: multiply-accumulates of a forward pass through the whole network, biases aside, (N,).
        seconds: time of training and measuring the whole stack.
    """

    key: str
    hash: str
    matrix: list[list[list[float]]]
    untrained: list[list[float]]
    units: list[list[list[int]]]
    parameters: list[int]
    network_bytes: list[int]
    memory_bytes: list[int]
    macs: list[int]
    seconds: float


# -- one case ----------------------------------------------------------------------------------------------------------


def begun(case: Case) -> Learner:
    """The stack of a case at the start of its first task, one row for each seed."""
    protocol, dataset = case.protocol, case.protocol.data()
    config = GrowthConfig.from_options(
        dataset=dataset,
        scenario=case.scenario,
        protection=case.protection.build(PROTECTIONS.make),
        hidden=protocol.hidden,
        max_hidden=protocol.max_hidden or protocol.hidden,
        tasks=protocol.tasks,
        decisions=protocol.decisions,
        minibatches=protocol.minibatches // protocol.decisions,
        batch_size=protocol.batch_size,
        optimizer=protocol.optimizer,
        learning_rate=protocol.learning_rate,
        test_samples=ALL_TEST_SAMPLES,
    )
    learner = Learner(config, dataset, case.seeds, protocol.tasks)
    contexts = [
        Context("continual", dataset.name, "train", seed, protocol.drawn(seed), 1.0, 0.0, inner_seed=seed)
        for seed in range(case.seeds)
    ]
    learner.begin(np.ones(case.seeds, dtype=bool), contexts)
    return learner


def run(case: Case) -> Outcome:
    """Train a case's stack through its whole stream and measure all tasks after each one."""
    begin = time.perf_counter()
    learner, everyone = begun(case), np.ones(case.seeds, dtype=bool)
    schedule: Schedule | None = case.growth.build() if case.growth else None
    tasks = case.protocol.tasks
    untrained = measured(learner)
    matrix = np.zeros((case.seeds, tasks, tasks))
    for task in range(tasks):
        for decision in range(case.protocol.decisions):
            if schedule is not None:
                grow(learner, schedule(learner, task, decision))
            learner.train()
        matrix[:, task] = measured(learner)
        if task < tasks - 1:
            learner.next_task(everyone)
        else:
            learner.finish_task(everyone)
        done = 100 * matrix[:, task, : task + 1].mean()
        _say(f"{case.key}: task {task + 1}/{tasks}, {done:.2f} % so far, {time.perf_counter() - begin:.0f} s")
    shape = architecture(learner)
    parameters = shape.connections().sum(axis=1) + shape.biases()
    return Outcome(
        case.key,
        digest(case.settings()),
        matrix.tolist(),
        untrained.tolist(),
        learner.units.tolist(),
        parameters.tolist(),
        (4 * parameters).tolist(),
        np.asarray(learner.protection.memory(shape)).tolist(),
        shape.connections().sum(axis=1).tolist(),
        time.perf_counter() - begin,
    )


def measured(learner: Learner) -> NDArray[np.float64]:
    """Accuracy of every row on the whole test part of each task, (N, T).

    Where outputs of tasks to come take no part in an answer, it is 0 on them, and nobody needs to look.
    """
    accuracy = np.zeros((learner.rows, learner.tasks))
    known = learner.tasks if learner.scenario.scored == "task" else int(learner.task.max()) + 1
    for task in range(known):
        accuracy[:, task] = learner.accuracy("test", np.full(learner.rows, task))
    return accuracy


def grow(learner: Learner, amounts: ArrayLike) -> None:
    """Add units to the layers of all rows, as many as the greatest widths leave room for."""
    wanted = np.broadcast_to(np.asarray(amounts, dtype=np.int64), (learner.rows, len(learner.config.hidden)))
    room = np.array(learner.config.max_hidden) - learner.network.widths
    for layer, amount in enumerate(np.minimum(wanted, room).T):
        if amount.any():
            learner.grow(np.full(learner.rows, layer), amount)


def architecture(learner: Learner) -> Architecture:
    """The networks as hardware counts them; a head that tasks share reads every unit and is counted once."""
    outputs = learner.data.task_classes.copy()
    if learner.scenario.heads == "shared":
        width = outputs.max(axis=1) if learner.scenario.labels == "place" else learner.classes
        outputs[:] = 0
        outputs[:, -1] = width
    directed, bypassed = learner.protection.directed, learner.config.bypassed
    return Architecture(learner.network.inputs, learner.units.copy(), outputs, directed, bypassed)


# -- many cases --------------------------------------------------------------------------------------------------------


def outcome_of(case: Case, folder: Path) -> Outcome | None:
    """What an earlier run of the case left, if its settings were the same."""
    try:
        left = read_json(folder / f"{case.key}.json")["outcome"]
    except (SavedFileError, KeyError):
        return None
    return Outcome(**left) if left["hash"] == digest(case.settings()) else None


def run_all(cases: Sequence[Case], folder: Path, count: int = 1) -> dict[str, Outcome]:
    """Run the cases that have no file as yet and read the others, in the order of the cases.

    Args:
        cases: what is run; their keys differ.
        folder: where each case's file is.
        count: processes.

    Raises:
        ValueError: two cases have the same key.
    """
    keys = [case.key for case in cases]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"cases need different names, protocols or scenarios; given twice: {', '.join(twice)}")
    folder.mkdir(parents=True, exist_ok=True)
    missing = [case for case in cases if outcome_of(case, folder) is None]
    _say(f"{len(cases) - len(missing)} of {len(cases)} cases are there already")

    def work(case: Case) -> Outcome:
        outcome = run(case)
        about = {"settings": _plain(case.settings()), "note": case.note, "deviations": case.protocol.deviations}
        write_json(folder / f"{case.key}.json", {**about, "versions": versions(), "outcome": asdict(outcome)})
        return outcome

    with processes(count):
        fresh = {missing[place].key: outcome for place, outcome in spread(work, missing)}
    return {case.key: fresh.get(case.key) or _there(case, folder) for case in cases}


def _there(case: Case, folder: Path) -> Outcome:
    outcome = outcome_of(case, folder)
    if outcome is None:
        raise RuntimeError(f"{folder / case.key}.json was changed while the experiment ran; run it again")
    return outcome


def _plain(settings: Any) -> Any:
    if isinstance(settings, dict):
        return {name: _plain(value) for name, value in settings.items()}
    return list(settings) if isinstance(settings, tuple) else settings


def quick(case: Case) -> Case:
    """The case in a fiftieth of the time, to see that it runs: 2 seeds and few minibatches."""
    protocol = case.protocol
    few = protocol.decisions * max(1, protocol.minibatches // (50 * protocol.decisions))
    return replace(case, protocol=replace(protocol, minibatches=few), seeds=2)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# -- the command line --------------------------------------------------------------------------------------------------


def main(experiment: str, title: str, cases: Iterable[Case], arguments: Sequence[str] | None = None) -> None:
    """Run an experiment's cases and write its table, its figures and its picture.

    Args:
        experiment: name of its folder.
        title: first line of its page.
        cases: all its cases.
        arguments: the command line; that of the process where None.
    """
    from experiments.continual_tables import write_results

    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--seeds", type=int, help="most seeds of a case; those of the case where left out")
    parser.add_argument("--processes", type=int, default=1, help="cases that are run side by side")
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="cases whose name holds one of these")
    parser.add_argument("--quick", action="store_true", help="2 seeds and a fiftieth of the training, into runs/")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--out", type=Path, help="folder of the results")
    args = parser.parse_args(arguments)
    if args.processes < 1 or (args.seeds is not None and args.seeds < 1):
        parser.error("--processes and --seeds must be at least 1")
    chosen = [case for case in cases if not args.only or any(part in case.key for part in args.only)]
    if not chosen:
        parser.error(f"no case has {' or '.join(args.only)} in its name; --list names them all")
    if args.seeds:
        chosen = [replace(case, seeds=min(case.seeds, args.seeds)) for case in chosen]
    if args.quick:
        chosen = [quick(case) for case in chosen]
    if args.list:
        print("\n".join(case.key for case in chosen))
        return
    torch.set_num_threads(1)
    folder = args.out or (QUICK if args.quick else RESULTS) / experiment
    try:
        outcomes = run_all(chosen, folder / "cases", args.processes)
    except FileNotFoundError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        _say("stopped; finished cases are kept, and the same command goes on with the others")
        raise SystemExit(130) from None
    command = shlex.join(["python", f"experiments/{experiment}.py", *(arguments or sys.argv[1:])])
    print(write_results(folder, title, command, chosen, outcomes))
