"""How fast is the engine, and against what? Minibatch steps per second per network, measured in one run.

    python benchmarks/throughput.py [--rows 1 16 64 256] [--dataset digits mnist] [--out FILE.json]

Four ways to train the same growing networks:

(a) one ``torch.nn.Sequential`` and one ``torch.optim.Adam`` for each environment, in one process;
(b) the same in two worker processes;
(c) the engine at N rows, with everything that a decision does counted in: drawing contexts and minibatches, growth,
    training, validation, inner-test figures, observations, masks, infos;
(d) the engine's batched matrix products alone, on the shapes that (c) met.

(a) and (b) train dense networks of the widths that the engine's networks have in each task, and do nothing else: no
growth, no frozen units, no measuring. Everything uses one thread a process; `--threads` gives (c) and (d) more.
Each measurement runs in a process of its own; its peak memory is that process's.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from growenv import GrowthVectorEnv
from growenv.networks import Layout

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "digits": {},
    "mnist": {
        "dataset": "mnist",
        "max_hidden": (256, 256),
        "amounts": (16, 64),
        "hidden": (32, 32),
        "meter": "parameters",  # no tile hears 784 inputs
    },
}
SCHEDULE = (1, 3)
"""At the start of each task: the smaller amount to layer 0, then to layer 1."""


def make(name: str, rows: int) -> GrowthVectorEnv:
    """The environment of one configuration."""
    return GrowthVectorEnv(rows, **CONFIGURATIONS[name])


def play(env: GrowthVectorEnv, decisions: int) -> list[Layout]:
    """Play the schedule and return the layout that each decision trained."""
    layouts = []
    for _ in range(decisions):
        step = env.episodes.task_decisions
        wanted = np.where(step < len(SCHEDULE), np.take(SCHEDULE, np.minimum(step, len(SCHEDULE) - 1)), 0)
        legal = env.action_masks()[np.arange(env.num_envs), wanted]
        env.step(np.where(legal, wanted, 0))
        layouts.append(env.learner.network.layout)
    return layouts


def engine(name: str, rows: int, threads: int, episodes: int) -> dict[str, Any]:
    """(c): whole episodes of the engine, the first of them for warming up."""
    torch.set_num_threads(threads)
    env = make(name, rows)
    env.reset(seed=0)
    decisions = env.config.tasks * env.config.decisions
    play(env, decisions)
    times, layouts = [], []
    for _ in range(episodes):
        begun = time.perf_counter()
        layouts = play(env, decisions)
        times.append(time.perf_counter() - begun)
    steps = decisions * env.config.minibatches
    best = min(times)
    return {"microseconds": best / steps / rows * 1e6, "layouts": layouts, "memory_mb": memory()}


def products(layouts: list[Layout], batch: int, threads: int, repeats: int) -> dict[str, Any]:
    """(d): one minibatch's matrix products for every layout, nothing else."""
    torch.set_num_threads(threads)
    total = 0.0
    for layout in layouts:
        calls = list(product_calls(layout, batch))
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            for left, right, out in calls:
                torch.bmm(left, right, out=out)
            times.append(time.perf_counter() - begun)
        total += min(times)
    return {"microseconds": total / len(layouts) / layouts[0].rows * 1e6}


def product_calls(layout: Layout, batch: int) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Operands of the forward and backward products of one minibatch."""
    n, calls = layout.rows, []

    def add(left: torch.Tensor, right: torch.Tensor) -> None:
        calls.append((left, right, torch.empty(n, left.shape[1], right.shape[2])))

    for layer in range(layout.depth + 1):
        source = torch.randn(n, batch, layout.fan_in(layer))
        weight = torch.randn(n, layout.fan_in(layer), layout.fan_out(layer))
        delta = torch.randn(n, batch, layout.fan_out(layer))
        frozen = layout.frozen[layer] if layer < layout.depth else 0
        add(source, torch.randn(n, layout.fan_in(layer), frozen + layout.fan_out(layer)))
        add(source.transpose(1, 2), delta)
        if layer > 0:
            add(delta, weight.transpose(1, 2))
    return calls


def modules(name: str, widths: list[list[int]], networks: int, steps: int) -> dict[str, Any]:
    """(a): one module and one optimiser a network, a round of steps for each task's widths."""
    torch.set_num_threads(1)
    env = make(name, 1)
    data, config = env.dataset, env.config
    inputs = (data.inputs[data.train].float() - data.shift) * data.scale
    labels = data.labels[data.train]
    total = 0.0
    for hidden in widths:
        nets = [sequential(data.features, hidden, data.classes) for _ in range(networks)]
        optimizers = [torch.optim.Adam(net.parameters(), lr=config.learning_rate, betas=(0.9, 0.99)) for net in nets]
        for counted in (False, True):
            begun = time.perf_counter()
            for _ in range(steps if counted else max(1, steps // 4)):
                for net, optimizer in zip(nets, optimizers, strict=True):
                    index = torch.randint(len(labels), (config.batch_size,))
                    optimizer.zero_grad()
                    torch.nn.functional.cross_entropy(net(inputs[index]), labels[index]).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        total += time.perf_counter() - begun
    return {"microseconds": total / len(widths) / networks / steps * 1e6, "memory_mb": memory()}


def sequential(inputs: int, hidden: list[int], classes: int) -> torch.nn.Sequential:
    """A dense network as one would write it."""
    sizes = [inputs, *hidden]
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], classes))


def task_widths(name: str) -> list[list[int]]:
    """Widths of a network under the schedule in the middle of each task."""
    env = make(name, 1)
    env.reset(seed=0, options={"inner_seeds": [0], "indices": [0]})
    widths = []
    for _ in range(env.config.tasks):
        play(env, env.config.decisions - 1)
        widths.append([int(width) for width in env.learner.network.widths[0]])
        play(env, 1)
    return widths


def memory() -> float:
    """Peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(function: Any, *arguments: Any) -> dict[str, Any]:
    """Run a measurement in a fresh process."""
    with mp.get_context("spawn").Pool(1) as pool:
        result: dict[str, Any] = pool.apply(function, arguments)
    return result


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """All measurements of one configuration."""
    widths = task_widths(name)
    single = apart(modules, name, widths, 16, args.steps)
    with mp.get_context("spawn").Pool(2) as pool:
        pair = pool.starmap(modules, [(name, widths, 16, args.steps)] * 2)
    # Two workers at once: the pair's time for a step of each is one worker's time, for two networks' steps.
    double = float(np.mean([worker["microseconds"] for worker in pair])) / 2
    result: dict[str, Any] = {
        "widths": widths,
        "a_microseconds": single["microseconds"],
        "a_memory_mb": single["memory_mb"],
        "b_microseconds": double,
        "b_memory_mb": sum(worker["memory_mb"] for worker in pair),
        "engine": {},
    }
    for rows in args.rows:
        whole = apart(engine, name, rows, args.threads, args.episodes)
        alone = apart(products, whole.pop("layouts"), 32, args.threads, 20)
        result["engine"][rows] = {
            "c_microseconds": whole["microseconds"],
            "c_memory_mb": whole["memory_mb"],
            "d_microseconds": alone["microseconds"],
            "a_over_c": single["microseconds"] / whole["microseconds"],
            "b_over_c": double / whole["microseconds"],
            "d_over_c": alone["microseconds"] / whole["microseconds"],
        }
    return result


def report(name: str, result: dict[str, Any]) -> str:
    """A table of one configuration."""
    lines = [
        f"{name}: widths in each task {result['widths']}, microseconds for one minibatch step of one network",
        f"  (a) one module each, one process    {result['a_microseconds']:9.1f}   {result['a_memory_mb']:6.0f} MB",
        f"  (b) the same, two processes         {result['b_microseconds']:9.1f}   {result['b_memory_mb']:6.0f} MB",
    ]
    for rows, line in result["engine"].items():
        lines.append(
            f"  (c) engine, N = {rows:<4}               {line['c_microseconds']:9.1f}   {line['c_memory_mb']:6.0f} MB"
            f"   (a)/(c) {line['a_over_c']:5.1f}   (b)/(c) {line['b_over_c']:5.1f}"
            f"   (d) {line['d_microseconds']:6.1f} = {line['d_over_c']:.0%} of (c)"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", nargs="+", default=["digits", "mnist"], choices=list(CONFIGURATIONS))
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine")
    parser.add_argument("--steps", type=int, default=100, help="steps of each module in (a) and (b)")
    parser.add_argument("--episodes", type=int, default=3, help="episodes of the engine; the fastest counts")
    parser.add_argument("--out", default="benchmarks/results/throughput.json")
    args = parser.parse_args()
    results = {}
    for name in args.dataset:
        results[name] = measure(name, args)
        print(report(name, results[name]), flush=True)
    processor = platform.processor() or platform.machine()
    machine = {"processor": processor, "threads": args.threads, "torch": torch.__version__}
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": machine, "configurations": results}, indent=1) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
