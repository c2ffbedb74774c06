"""Does the order of growth matter? Statistics and pictures of the growth-path experiment, from its runs.

    python experiments/growth_paths_analysis.py
    python docs/figures.py

Reads docs/results/growth-paths/runs/*.npz, which experiments/growth_paths.py writes, and writes
docs/results/growth-paths/analysis.json and the pictures beside it. Accuracies are in percent, differences in points.
Everything speaks of all paths of the lattice, not of those that were drawn, and of other trials.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from agents.arguments import option, run_script  # noqa: E402
from agents.saving import write_json  # noqa: E402
from agents.training.run_folder import versions  # noqa: E402
from experiments.growth_paths_effects import correlation, holm, linear, plain, plain_interval  # noqa: E402
from experiments.growth_paths_extremes import held_out_range, range_without_effect, shrunken_range  # noqa: E402
from experiments.growth_paths_figures import draw_all  # noqa: E402
from experiments.growth_paths_runs import Run, lead, load_all, load_other_steps, name_of, title  # noqa: E402
from experiments.growth_paths_statistics import COMPONENTS, LEVEL, Array, Components, components  # noqa: E402

COMMAND = "python experiments/growth_paths_analysis.py"
CHANCE = 11.0
"""Percent below which a network of ten classes has learned nothing."""


@dataclass
class Args:
    """Options of the command line."""

    results: str = option("docs/results/growth-paths", "folder with runs/, of analysis.json and of the pictures")


def spread(values: Array) -> dict[str, float]:
    """Mean over trials (trials,) with its interval, and their standard deviation."""
    return {**plain_interval(values).to_json(), "sd": float(values.std(ddof=1))}


def accuracies(run: Run) -> dict[str, Any]:
    """Test accuracies of what the experiment compares.

    The mean path is that of all paths; best and worst are those of the drawn paths by their mean test accuracy, so they
    are flattered and wronged; `extremes` says by how much.
    """
    drawn, ones = run.drawn, np.ones((int((~run.named).sum()), 1))
    means = drawn.test.mean(axis=1)
    chosen = {"best": int(means.argmax()), "worst": int(means.argmin())}
    against = {"root": run.root_test, "target": run.target_test}
    return {
        **{name: spread(values) for name, values in against.items()},
        "mean path": {
            **linear(drawn.sample, drawn.test, ones)[0].to_json(),
            "sd": float(drawn.sample.mean(drawn.test).std(ddof=1)),
        },
        **{
            f"mean path minus {name}": linear(drawn.sample, drawn.test - values, ones)[0].to_json()
            for name, values in against.items()
        },
        **{name: {**spread(drawn.test[place]), "path": name_of(drawn.paths[place])} for name, place in chosen.items()},
        "named": {name: spread(run.test[place]) for name, place in run.called.items()},
    }


def variance(found: Components, slope: float) -> dict[str, Any]:
    """Standard deviations of the components in points, their shares, and the tests of the path effect.

    There are two tests: of any effect, and of the lead alone, which finds a small effect in that one direction. `p` of
    both together is twice the smaller one (Bonferroni).

    Args:
        found: the components.
        slope: probability of the slope over lead.
    """
    return {
        "sd": plain({name: found.sd(name) for name in COMPONENTS}),
        "share": plain({name: found.share(name) for name in COMPONENTS}),
        "variance": found.variance,
        "p of any": found.p,
        "p of lead": slope,
        "p": min(1.0, 2 * min(found.p, slope)),
        "directions": found.directions,
    }


def extremes(run: Run) -> dict[str, Any]:
    """Difference of best and worst path: as observed, as noise alone would make it, and freed from choice."""
    drawn = run.drawn
    ahead = lead(drawn.paths)
    expected, high = range_without_effect(drawn.test, ahead)
    return {
        "observed": float(np.ptp(drawn.test.mean(axis=1))),
        "without effect": expected,
        "without effect, 95 %": high,
        "shrunken": shrunken_range(drawn.test, ahead).to_json(),
        "held out": held_out_range(drawn.validation[:, :, -1], drawn.test).to_json(),
    }


def effect_of_lead(run: Run, values: Array) -> dict[str, Any]:
    """How values (P, trials) of the drawn paths follow the lead of layer 1.

    `slope` is what a whole lead is worth: layer 1 wholly first instead of both evenly; half the difference between
    layer 1 wholly first and layer 2 wholly first, along the fitted line. `bend` is what both of these differ from even.
    """
    ahead = lead(run.paths)
    columns = np.column_stack([np.ones(len(ahead)), ahead, ahead**2])
    line = linear(run.sample, values, columns[:, :2])
    return plain({"slope": line[1], "bend": linear(run.sample, values, columns)[2]})


def starts(one: Run, other: Run, both_matter: bool) -> dict[str, Any]:
    """GradMax start (`one`) minus random start (`other`), the same paths in the same trials.

    Raises:
        ValueError: the paths differ.
    """
    if one.paths.shape != other.paths.shape or (one.paths != other.paths).any():
        raise ValueError("the runs of both starts hold different paths; make them with the same seed and count")
    drawn, base = one.drawn, other.drawn
    minus = drawn.test - base.test
    found, along = components(drawn.sample, minus), effect_of_lead(drawn, minus)
    alike = correlation(drawn.sample, drawn.test, base.test).to_json() if both_matter else None
    return {
        "mean": linear(drawn.sample, minus, np.ones((len(minus), 1)))[0].to_json(),
        "by path": variance(found, along["slope"]["p"]),
        "lead": along,
        "correlation": alike,
    }


def one_run(run: Run) -> dict[str, Any]:
    """All that is said about one data set and start, but for what is compared."""
    drawn = run.drawn
    found, along = components(drawn.sample, drawn.test), effect_of_lead(drawn, drawn.test)
    return {
        "drawn": len(drawn.test),
        "paths": int(run.stratum_sizes.sum()),
        "trials": int(run.test.shape[1]),
        "accuracy": accuracies(run),
        "at chance": float(drawn.sample.mean(drawn.test < CHANCE).mean()),
        "components": variance(found, along["slope"]["p"]),
        "extremes": extremes(run),
        "lead": along,
    }


def analysis(runs: dict[str, dict[str, Run]]) -> dict[str, Any]:
    """The whole analysis as plain types; `runs` by data set and start."""
    found = {dataset: {start: one_run(run) for start, run in each.items()} for dataset, each in runs.items()}
    keys = [(dataset, start) for dataset, each in runs.items() for start in each]
    corrected = holm({"/".join(key): found[key[0]][key[1]]["components"]["p"] for key in keys})
    for dataset, start in keys:
        found[dataset][start]["components"]["p of all"] = corrected[f"{dataset}/{start}"]
    matters = {key: 1 - corrected["/".join(key)] > LEVEL for key in keys}
    compared = {
        dataset: starts(each["gradmax"], each["random"], matters[dataset, "gradmax"] and matters[dataset, "random"])
        for dataset, each in runs.items()
        if len(each) == 2
    }
    several = holm({dataset: each["by path"]["p"] for dataset, each in compared.items()})
    for dataset, each in compared.items():
        each["by path"]["p of all"] = several[dataset]
    return {
        "command": COMMAND,
        "versions": versions(),
        "level": LEVEL,
        "titles": {dataset: title(dataset, next(iter(each.values())).note) for dataset, each in runs.items()},
        "runs": found,
        "gradmax minus random": compared,
        "between data sets": [pair for start in ("random", "gradmax") for pair in between(runs, start, matters)],
    }


def between(runs: dict[str, dict[str, Run]], start: str, matters: dict[tuple[str, str], bool]) -> list[dict[str, Any]]:
    """Correlations of path effects between data sets with one start, where both have effects and the same paths."""
    found = []
    for one, other in combinations([dataset for dataset in runs if start in runs[dataset]], 2):
        left, right = runs[one][start].drawn, runs[other][start].drawn
        same = np.array_equal(left.paths, right.paths) and left.test.shape == right.test.shape
        if not same or not (matters[one, start] and matters[other, start]):
            continue
        alike = correlation(left.sample, left.test, right.test).to_json()
        found.append({"start": start, "data sets": [one, other], "correlation": alike})
    return found


def main(args: Args) -> None:
    """Analyse the runs that there are and draw them."""
    folder = ROOT / args.results
    runs = load_all(folder / "runs")
    found = analysis(runs)
    # beside the experiment, so they count in no correction
    found["other steps"] = [
        {"data set": dataset, "start": start, "step": step, **one_run(run)}
        for (dataset, start, step), run in load_other_steps(folder / "runs").items()
    ]
    write_json(folder / "analysis.json", found)
    draw_all(runs, found, folder)
    for dataset, each in found["runs"].items():
        for start, run in each.items():
            path = run["components"]["sd"]["path"]
            print(f"{dataset}, {start}: SD of paths {path['mean']:.3f} [{path['low']:.3f}, {path['high']:.3f}] points")


if __name__ == "__main__":
    run_script(main, Args, __doc__ or "", "stopped; nothing was written")
