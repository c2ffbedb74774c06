"""Writes the measured figures into README.md and the pages of docs, from the results files.

    python docs/figures.py            rewrite the marked blocks
    python docs/figures.py --check    fail if a block differs from its results file

The results come from `evaluate.py` and `experiments/` (docs/results), and from `benchmarks/` (benchmarks/results).
A block of docs/continual.md, docs/growth-paths.md or docs/tutorial.md whose experiment has no results yet shows the
command.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import claim
import continual
import growth_paths
import growth_paths_agents
import growth_paths_speed
import growth_paths_tables
import tutorial
from claim import spread

ROOT = Path(__file__).resolve().parent.parent
THROUGHPUT = ROOT / "benchmarks" / "results" / "throughput.json"
METERING = ROOT / "benchmarks" / "results" / "metering.json"
REFUSALS = ROOT / "docs" / "results" / "refusals.json"
PLACEMENT = ROOT / "docs" / "results" / "placement" / "results.json"
GROWTH = ROOT / "docs" / "results" / "growth"
SIGNALS = ROOT / "docs" / "results" / "signals" / "results.json"
BENCHMARKS = ROOT / "benchmarks" / "results"
NAMES = ("architecture", "mosaic", "growth", "evaluation", "continual", "growth-paths", "tutorial")
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{page}.md" for page in NAMES))


def points(interval: dict[str, Any], signed: bool = True, factor: float = 100.0) -> str:
    """Mean and interval of a share in points; a difference that differs from zero in bold."""
    sign = "+" if signed else ""
    mean, low, high = (format(factor * interval[name], f"{sign}.2f") for name in ("mean", "low", "high"))
    text = f"{mean} [{low}, {high}]"
    return f"**{text}**" if signed and interval["low"] * interval["high"] > 0 else text


def streams() -> str:
    """All operators under two schedules in the default environment."""
    results = json.loads((GROWTH / "operators_in_streams.json").read_text())
    schedules = list(dict.fromkeys(line["schedule"] for line in results["lines"]))
    lines: dict[str, dict[str, Any]] = {}
    for line in results["lines"]:
        lines.setdefault(line["operator"], {})[line["schedule"]] = line
    titles = [next(iter(lines.values()))[name]["words"] for name in schedules]
    table = [f"| operator | {' | '.join(titles)} |", f"| --- |{' --- |' * len(titles)}"]
    for name, each in sorted(lines.items(), key=lambda item: -item[1][schedules[0]]["difference"]["mean"]):
        cells = [
            points(each[schedule]["accuracy"], signed=False)
            if name == "random"
            else points(each[schedule]["difference"])
            for schedule in schedules
        ]
        table.append(f"| `{name}` | {' | '.join(cells)} |")
    settings = results["settings"]
    return "\n".join([*table, "", f"{settings['contexts']} contexts of the {settings['split']} split."])


def operators() -> str:
    """All operators on images, a column for each data set and optimiser."""
    files = sorted(GROWTH.glob("operators-*.json"))
    results = {path.stem.removeprefix("operators-"): json.loads(path.read_text()) for path in files}
    first = next(iter(results.values()))["compared"]
    order = sorted(first, key=lambda name: -first[name]["mean"]["mean"])
    table = [f"| | {' | '.join(results)} |", f"| --- |{' --- |' * len(results)}"]
    for name in order:
        cells = []
        for each in results.values():
            line = each["compared"].get(name, {})
            minus = line.get("minus random")
            cells.append(points(minus) if minus else points(line["mean"], signed=False) if line else "")
        table.append(f"| `{name}` | {' | '.join(cells)} |")
    settings = next(iter(results.values()))["settings"]
    words = (
        f"{settings['rows']} seeds; {settings['events']} growth events; {settings['interval'] * settings['intervals']} "
        f"minibatches of {settings['batch_size']}; the row `random` shows its accuracy."
    )
    return "\n".join([*table, "", words])


def student_teacher() -> str:
    """What the study of students and teachers says."""
    results = json.loads((GROWTH / "student_teacher.json").read_text())
    return "\n".join(f"- {line}" for line in results["verdict"] if line.startswith("loss"))


def widening() -> str:
    """What the study of widening says."""
    results = json.loads((GROWTH / "widening.json").read_text())
    return "\n".join(f"- {line}" for line in results["verdict"])


def growth_cost() -> str:
    """Cost of a growth event of every operator, and gromo's."""
    results = json.loads((BENCHMARKS / "growth.json").read_text())
    ours, other = results["ours"], results["gromo"]
    table = ["| operator | minibatch steps of the stack, lower and upper layer | ms |", "| --- | --- | --- |"]
    for name, line in sorted(ours["operators"].items(), key=lambda item: max(item[1]["steps"])):
        steps, ms = (" and ".join(format(each, ".1f") for each in line[key]) for key in ("steps", "ms"))
        table.append(f"| `{name}` | {steps} | {ms} |")
    words = [f"{ours['rows']} networks; one minibatch step of all takes {ours['step_ms']:.1f} ms on one thread."]
    if other:
        faster = ", ".join(
            f"`{line['operator']}` in the {('lower', 'upper')[line['layer']]} layer {line['times_faster']:.1f} times"
            for line in other["lines"]
        )
        words.append(
            f"The same growth step in gromo {other['version']}, once for each network, takes longer: {faster}. Both "
            f"find the same directions for GradMax (least |cosine| {min(other['gradmax_least_cosine']):.6f})."
        )
    return "\n".join([*table, "", *words])


def signals_help() -> str:
    """PPO with groups of signals against PPO without."""
    results = json.loads(SIGNALS.read_text())
    table = ["| signals | return | minus none | better seeds |", "| --- | --- | --- | --- |"]
    for line in results["lines"]:
        names = ", ".join(f"`{name}`" for name in line["signals"]) or "none"
        minus, better = "", ""
        if "difference" in line:
            minus = spread(line["difference"], signed=True)
            means = [each["mean"] for each in line["difference_by_seed"]]
            better = f"{sum(mean > 0 for mean in means)} of {len(means)}"
        table.append(f"| {names} | {spread(line['return'])} | {minus} | {better} |")
    words = f"{results['contexts']} val contexts, {results['seeds']} training seeds of {results['steps']:,} steps each."
    return "\n".join([*table, "", words])


def throughput() -> str:
    """Table of the engine's speed."""
    results = json.loads(THROUGHPUT.read_text())
    lines = [
        "| µs for one minibatch step of one network | digits | MNIST |",
        "| --- | --- | --- |",
    ]
    both = [results["configurations"][name] for name in ("digits", "mnist")]
    names = {"a": "(a) a `torch.nn.Sequential` and an Adam each, one process", "b": "(b) the same, two processes"}
    for key, label in names.items():
        lines.append(f"| {label} | {' | '.join(format(each[f'{key}_microseconds'], '.0f') for each in both)} |")
    for rows in both[0]["engine"]:
        cells = [engine_cell(each["engine"][rows]) for each in both]
        lines.append(f"| the engine, N = {rows} | {' | '.join(cells)} |")
    threads = results["machine"]["threads"]
    lines += ["", f"Engine: {threads} thread{'s' if threads > 1 else ''}; torch {results['machine']['torch']}."]
    return "\n".join(lines)


def engine_cell(line: dict[str, float]) -> str:
    """One measurement of the engine."""
    return (
        f"{line['c_microseconds']:.1f} (a/{line['a_over_c']:.1f}, b/{line['b_over_c']:.1f}; "
        f"products {line['d_over_c']:.0%}; {line['c_memory_mb']:.0f} MB)"
    )


def reasons() -> str:
    """How a random policy's requests are answered."""
    results = json.loads(REFUSALS.read_text())
    lines = results["lines"]
    answers = [answer for answer in lines[0]["shares"] if any(line["shares"][answer] for line in lines)]
    table = [
        f"| environment | `where` | {' | '.join(answers)} | accuracy reached |",
        f"| --- | --- | {'--- | ' * len(answers)}--- |",
    ]
    for line in lines:
        shares = " | ".join(f"{line['shares'][answer]:.1%}" for answer in answers)
        table.append(f"| `{line['id']}` | {line['where']} | {shares} | {line['accuracy']:.3f} |")
    return "\n".join(
        [*table, "", f"{results['rows']} streams each; {lines[0]['requests']:,} requests in the first line."]
    )


def placement() -> str:
    """The same growth placed in different ways, for every run."""
    results = json.loads(PLACEMENT.read_text())
    names = {
        "learned": "**learned** places",
        "greedy": "greedy places",
        "row_major": "strips",
        "random": "random legal places",
    }
    table = [
        "| run | places | return | minus greedy | mean hops | memristors | routing devices | energy (pJ) | growths |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, run in enumerate(results["runs"]):
        for name, line in run["lines"].items():
            difference = line.get("return minus greedy")
            cells = [str(number), names[name], spread(line["return"])]
            cells.append("" if difference is None else spread(difference, signed=True))
            cells += [f"{line['mean_hops']['mean']:.2f}", f"{line['memristors']['mean']:,.0f}"]
            cells += [f"{line['routing_devices']['mean']:.0f}", f"{line['energy_pj']['mean']:.0f}"]
            table.append(f"| {' | '.join([*cells, format(line['growths']['mean'], '.1f')])} |")
    words = [
        f"- Run {number}: annealing the learned policy's last networks (first {run['annealed']['networks']}) lowers "
        f"their routing cells from {run['annealed']['cost_before']:.0f} to {run['annealed']['cost_after']:.0f}, and "
        f"rewrites {run['annealed']['rewritten']:.0f} memristors on average."
        for number, run in enumerate(results["runs"])
    ]
    return "\n".join([*table, "", f"{results['contexts']} contexts of the {results['split']} split.", "", *words])


def metering() -> str:
    """The hardware's share of a decision, and one growth decision on larger fabrics."""
    results = json.loads(METERING.read_text())
    share, scaling = results["share"], results["scaling"]
    layers = list(next(iter(scaling.values())))
    lines = [
        f"Of a decision of {results['rows']} rows on `{results['meter']}` ({share['decision_ms']:.1f} ms), the "
        f"hardware takes {share['hardware_ms']:.1f} ms: {share['share']:.1%}. One growth decision of all rows, in ms:",
        "",
        f"| tiles | {' | '.join(f'{number} hidden layer' + 's' * (number != '1') for number in layers)} |",
        f"| --- | {' | '.join('---' for _ in layers)} |",
    ]
    for grid, times in scaling.items():
        lines.append(f"| {grid} | {' | '.join(format(times[number], '.1f') for number in layers)} |")
    return "\n".join(lines)


def signals_cost() -> str:
    """Share of a decision that signals take."""
    results = json.loads((BENCHMARKS / "signals.json").read_text())
    lines = results["signals"]
    every, seldom, probe = (lines[name] for name in ("all", "all, every 2", "probe"))
    single = {name: line for name, line in lines.items() if name != "probe" and not name.startswith("all")}
    each = ", ".join(f"`{name}` {line['share']:.1%}" for name, line in single.items())
    return (
        f"All signals of {results['rows']} rows take {every['signals_ms']:.1f} ms of CPU time beside the "
        f"{every['rest_ms']:.1f} ms of the rest of a decision: **{every['share']:.1%}**. With `signals_every=2`, which "
        f"looks at every second decision only, it is {seldom['share']:.1%}. The probe batch that nearly all share is "
        f"{probe['share']:.1%} of that rest. One signal alone, with its probe batch: {each}."
    )


BLOCKS: dict[str, Callable[[], str]] = {
    **claim.BLOCKS,
    **continual.BLOCKS,
    **growth_paths.BLOCKS,
    **growth_paths_agents.BLOCKS,
    **growth_paths_speed.BLOCKS,
    **growth_paths_tables.BLOCKS,
    **tutorial.BLOCKS,
    "throughput": throughput,
    "reasons": reasons,
    "placement": placement,
    "metering": metering,
    "streams": streams,
    "operators": operators,
    "student-teacher": student_teacher,
    "widening": widening,
    "growth-cost": growth_cost,
    "signals-cost": signals_cost,
    "signals-help": signals_help,
}


def filled(text: str) -> str:
    """`text` with every marked block made anew."""
    for name, make in BLOCKS.items():
        begin, end = f"<!-- figures: {name} -->", "<!-- end of figures -->"
        if begin in text:
            before, rest = text.split(begin, 1)
            text = f"{before}{begin}\n{make()}\n{end}{rest.split(end, 1)[1]}"
    return text


def main() -> int:
    """Rewrite or check the pages; the exit code."""
    stale = [page for page in PAGES if filled(page.read_text()) != page.read_text()]
    if "--check" in sys.argv:
        for page in stale:
            print(f"{page.relative_to(ROOT)} does not show its results files; run python docs/figures.py")
        return 1 if stale else 0
    for page in stale:
        page.write_text(filled(page.read_text()))
        print(f"wrote {page.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
