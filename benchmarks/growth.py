"""What does one growth event cost? Every operator, in minibatch steps of the same networks, and against gromo.

    python benchmarks/growth.py [--rows 64] [--operators NAME...] [--out FILE.json]

Networks of 64 inputs (digits), two hidden layers of 64 units and 10 outputs get 8 more units in the lower or in the
upper hidden layer, all rows at once: `Learner.grow`, with everything that belongs to it (probe batches, proposal,
writing, a new layout for the weights and for the moments of Adam). Before every event the stack is put back, so all
operators see the same networks. A step is one minibatch of 32 samples for every row, as a decision trains it. Steps and
events take turns, and medians are compared, so whatever else the machine does falls on all alike.

Where the package gromo (https://pypi.org/project/gromo) is installed, its growth step with the settings that it
recommends for GradMax and for TINY is measured in turn with ours: one network of the same shapes and weights, one probe
batch of 128 samples, 8 units. It grows one network at a time, so it is compared with ours for one row, and 64 of its
events with ours for 64 rows. `pip install gromo` adds it; without it this part is left out.

Everything uses one thread.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments.growing import ALL, chosen_operators, operator_name, positive, single_task_learner, table
from growenv.growth import OPERATORS
from growenv.learner import Learner
from growenv.streams import load_dataset

WIDTHS, AMOUNT = (64, 64), 8
LAYERS = (0, 1)
LIMIT = 25.0
"""Minibatch steps that an event of GradMax may take."""
RECIPES: dict[str, dict[str, bool]] = {
    "gradmax": {
        "compute_delta": False,
        "use_covariance": False,
        "alpha_zero": True,
        "omega_zero": False,
        "use_projection": False,
        "ignore_singular_values": True,
    },
    "tiny": {
        "compute_delta": False,
        "use_covariance": True,
        "alpha_zero": False,
        "omega_zero": False,
        "use_projection": True,
        "ignore_singular_values": False,
    },
}
"""Options with which gromo's documentation reproduces the operators that we have under these names."""
Case = Callable[[], float]


class Stack:
    """Trained networks that are put back before everything that is measured.

    Args:
        rows: number of networks N.
    """

    def __init__(self, rows: int) -> None:
        most = tuple(width + AMOUNT for width in WIDTHS)
        self.learner: Learner = single_task_learner(load_dataset("digits"), rows, "random", WIDTHS, most)
        for _ in range(2):
            self.learner.train()
        self._kept = self.learner.snapshot()

    def step(self) -> float:
        """Seconds of one minibatch step of all rows."""
        self.learner.restore(self._kept)
        begun = time.perf_counter()
        self.learner.train()
        return (time.perf_counter() - begun) / self.learner.config.minibatches

    def event(self, name: str, layer: int) -> float:
        """Seconds of one growth event of all rows."""
        self.learner.restore(self._kept)
        self.learner.operator = OPERATORS.make(name)
        layers, amounts = np.full(self.learner.rows, layer), np.full(self.learner.rows, AMOUNT)
        begun = time.perf_counter()
        self.learner.grow(layers, amounts)
        return time.perf_counter() - begun

    def dense(self) -> list[tuple[Tensor, Tensor]]:
        """Weights (fan_out, fan_in) and biases of the first row's layers."""
        self.learner.restore(self._kept)
        network = self.learner.network
        layers = [(network.weights[0][0, :-1, : WIDTHS[0]].T, network.weights[0][0, -1, : WIDTHS[0]])]
        for block, (below, above) in enumerate(((WIDTHS[0], WIDTHS[1]), (WIDTHS[1], network.classes)), start=1):
            first, weight = network.layout.frozen[block - 1], network.weights[block][0]
            layers.append((weight[first : first + below, :above].T, weight[0, :above]))
        return [(weight.clone(), bias.clone()) for weight, bias in layers]

    def probe(self) -> tuple[Tensor, Tensor]:
        """Inputs (B, D) and labels (B,) of the first row's probe batch."""
        evidence: Any = self.learner.evidence()
        return evidence.x[0, :, :-1].clone(), evidence.loss.labels[0].clone()


def gromo_event(model_class: Any, stack: Stack, name: str, layer: int) -> float:
    """Seconds of one growth event of gromo for one network with the first row's weights."""
    model = gromo_model(model_class, stack.dense())
    x, labels = stack.probe()
    begun = time.perf_counter()
    prepare(model, x, labels, name, layer)
    model.reset_computation()
    model.dummy_select_update()
    model.set_scaling_factor(1.0)
    model.apply_change()
    seconds = time.perf_counter() - begun
    grown = model.layers[layer].weight.shape[0]
    if grown != WIDTHS[layer] + AMOUNT:
        raise RuntimeError(f"gromo grew layer {layer} to {grown} units, expected {WIDTHS[layer] + AMOUNT}")
    return seconds


def gromo_model(model_class: Any, dense: Sequence[tuple[Tensor, Tensor]]) -> Any:
    """A network of gromo with these weights."""
    (first, _), (head, _) = dense[0], dense[-1]
    model = model_class(
        first.shape[1], head.shape[0], WIDTHS[0], 2, activation=torch.nn.ReLU(), device=torch.device("cpu")
    )
    with torch.no_grad():
        for module, (weight, bias) in zip(model.layers, dense, strict=True):
            module.weight.copy_(weight)
            module.bias.copy_(bias)
    return model


def prepare(model: Any, x: Tensor, labels: Tensor, name: str, layer: int) -> None:
    """Let gromo look at a batch and work out the new units of one hidden layer."""
    model.set_growing_layers(index=layer)
    model.init_computation()
    model.zero_grad()
    # Its documentation asks for a loss that is summed over the samples.
    torch.nn.functional.cross_entropy(model(x), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
    model.update_computation(update_covariance_loss_gradient=False)
    model.compute_optimal_updates(maximum_added_neurons=AMOUNT, **RECIPES[name])


def directions_agree(model_class: Any, stack: Stack, layer: int) -> float:
    """Least |cosine| between the outgoing directions that gromo's GradMax and ours find for the same network."""
    model = gromo_model(model_class, stack.dense())
    prepare(model, *stack.probe(), "gradmax", layer)
    theirs = model.layers[layer + 1].extended_input_layer.weight.detach()
    learner = stack.learner
    learner.operator = OPERATORS.make("gradmax")
    learner.grow(np.full(learner.rows, layer), np.full(learner.rows, AMOUNT))
    first = learner.network.layout.frozen[layer] + WIDTHS[layer]
    ours = learner.network.weights[layer + 1][0, first : first + AMOUNT, : theirs.shape[0]].T
    cosines = (torch.nn.functional.normalize(ours, dim=0) * torch.nn.functional.normalize(theirs, dim=0)).sum(dim=0)
    return float(cosines.abs().min())


def medians(cases: dict[str, Case], repeats: int) -> dict[str, float]:
    """Median seconds of every case; the cases take turns, and the first turn does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(repeats + 1):
        for name, case in cases.items():
            took = case()
            if turn:
                seconds[name].append(took)
    return {name: float(np.median(each)) for name, each in seconds.items()}


def measure_ours(names: Sequence[str], rows: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of a step, and of an event of every operator in both layers."""
    stack = Stack(rows)
    cases: dict[str, Case] = {}
    for name in names:
        cases[f"{name} step"] = stack.step
        for layer in LAYERS:
            cases[f"{name} {layer}"] = lambda name=name, layer=layer: stack.event(name, layer)  # type: ignore[misc]
    found = medians(cases, repeats)
    step = float(np.median([found[f"{name} step"] for name in names]))
    events = {name: [found[f"{name} {layer}"] for layer in LAYERS] for name in names}
    lines = {
        name: {
            "ms": [seconds * 1e3 for seconds in each],
            "steps": [seconds / found[f"{name} step"] for seconds in each],
        }
        for name, each in events.items()
    }
    return {"rows": rows, "step_ms": step * 1e3, "operators": lines}


def measure_gromo(rows: int, repeats: int) -> dict[str, Any] | None:
    """Milliseconds of gromo's events and of ours for one row and for all; None where gromo is not installed."""
    try:
        model_class: Any = importlib.import_module("gromo.containers.growing_mlp").GrowingMLP
    except ImportError:
        return None
    one, many = Stack(1), Stack(rows)
    cases: dict[str, Case] = {}
    both = [(name, layer) for name in RECIPES if name in OPERATORS.names() for layer in LAYERS]
    for name, layer in both:
        key = f"{name} {layer}"
        cases[f"gromo {key}"] = lambda n=name, at=layer: gromo_event(model_class, one, n, at)  # type: ignore[misc]
        cases[f"one {key}"] = lambda n=name, at=layer: one.event(n, at)  # type: ignore[misc]
        cases[f"many {key}"] = lambda n=name, at=layer: many.event(n, at)  # type: ignore[misc]
    with warnings.catch_warnings():  # that a matrix is singular
        warnings.filterwarnings("ignore", module="gromo")
        found = medians(cases, repeats)
    lines = [
        {
            "operator": name,
            "layer": layer,
            "gromo_ms": found[f"gromo {name} {layer}"] * 1e3,
            "one_row_ms": found[f"one {name} {layer}"] * 1e3,
            "all_rows_ms": found[f"many {name} {layer}"] * 1e3,
            "times_faster": rows * found[f"gromo {name} {layer}"] / found[f"many {name} {layer}"],
        }
        for name, layer in both
    ]
    cosines = [directions_agree(model_class, one, layer) for layer in LAYERS] if "gradmax" in OPERATORS.names() else []
    return {"version": importlib.metadata.version("gromo"), "lines": lines, "gradmax_least_cosine": cosines}


def report(results: dict[str, Any]) -> str:
    """The tables."""
    ours, rows = results["ours"], results["ours"]["rows"]
    cells = [
        [name, *(f"{ms:.2f}" for ms in line["ms"]), *(f"{steps:.1f}" for steps in line["steps"])]
        for name, line in sorted(ours["operators"].items(), key=lambda each: max(each[1]["ms"]))
    ]
    header = [f"{rows} rows", "lower, ms", "upper, ms", "lower, steps", "upper, steps"]
    words = [f"one step of {rows} rows takes {ours['step_ms']:.2f} ms", table(header, cells)]
    if "gradmax" in ours["operators"]:
        most = max(ours["operators"]["gradmax"]["steps"])
        words.append(f"gradmax takes {most:.1f} steps, {'below' if most < LIMIT else 'NOT below'} {LIMIT:.0f}")
    other = results["gromo"]
    if other is None:
        return "\n".join([*words, "gromo is not installed, so there is no comparison with it: pip install gromo"])
    cells = [
        [
            f"{line['operator']}, {('lower', 'upper')[line['layer']]} layer",
            f"{line['gromo_ms']:.2f}",
            f"{line['one_row_ms']:.2f}",
            f"{rows * line['gromo_ms']:.0f}",
            f"{line['all_rows_ms']:.2f}",
            f"{line['times_faster']:.1f}",
        ]
        for line in other["lines"]
    ]
    header = ["ms", f"gromo {other['version']}", "one row", f"gromo x {rows}", f"{rows} rows", "times faster"]
    words += [table(header, cells)]
    if other["gradmax_least_cosine"]:
        least = min(other["gradmax_least_cosine"])
        words.append(f"least |cosine| between GradMax's outgoing directions in gromo and here: {least:.6f}")
    return "\n".join(words)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=positive, default=64)
    parser.add_argument("--operators", nargs="+", type=operator_name, default=[ALL], help='growth operators, or "all"')
    parser.add_argument("--repeats", type=positive, default=15, help="turns of which the median counts")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "growth.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in chosen_operators(args.operators) if name in OPERATORS.names()]
    processor = platform.processor() or platform.machine()
    results = {
        "machine": {"processor": processor, "threads": 1, "torch": torch.__version__},
        "widths": list(WIDTHS),
        "amount": AMOUNT,
        "repeats": args.repeats,
        "ours": measure_ours(names, args.rows, args.repeats),
        "gromo": measure_gromo(args.rows, args.repeats),
    }
    print(report(results))
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
