"""Writes the measured figures into README.md and the pages of docs, from the results files.

    python docs/figures.py            rewrite the marked blocks
    python docs/figures.py --check    fail if a block differs from its results file

The results come from `evaluate.py` and `experiments/` (docs/results), and from `benchmarks/` (benchmarks/results).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STUDIES = {"study": "mixed-digits", "ood": "mixed-digits-ood"}
"""Folder in docs/results of each study."""
THROUGHPUT = ROOT / "benchmarks" / "results" / "throughput.json"
METERING = ROOT / "benchmarks" / "results" / "metering.json"
REFUSALS = ROOT / "docs" / "results" / "refusals.json"
PLACEMENT = ROOT / "docs" / "results" / "placement" / "results.json"
PAGES = (ROOT / "README.md", ROOT / "docs" / "architecture.md", ROOT / "docs" / "mosaic.md")


def study(name: str) -> str:
    """Table and verdict of a study."""
    folder = f"docs/results/{STUDIES[name]}"
    results = json.loads((ROOT / folder / "results.json").read_text())
    lines = [
        "| policy | return | accuracy | cost | return minus best fixed schedule |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in results["policies"]:
        label = run_label(row["policy"]) if row["policy"] in results["learned"] else row["policy"]
        cells = [label, *(spread(row[name]) for name in ("return_", "accuracy", "cost"))]
        cells.append("" if row["difference"] is None else spread(row["difference"], signed=True))
        lines.append(f"| {' | '.join(cells)} |")
    learned = [row for row in results["policies"] if row["policy"] in results["learned"]]
    better = sum(row["difference"]["low"] > 0 for row in learned)
    gates = [row for row in results["policies"] if row["policy"].endswith("-tuned")]
    best_gate = max(gates, key=lambda row: row["return_"]["mean"])
    above = sum(row["return_"]["mean"] > best_gate["return_"]["mean"] for row in learned)
    words = (
        f"{better} of {len(learned)} training seeds give a policy whose paired difference to the best fixed schedule "
        f"has a 95 % interval above zero. {above} of {len(learned)} return more on average than the best tuned gate "
        f"(`{best_gate['policy']}`); the verdicts in `{folder}/table.txt` say for each whether that "
        "difference is more than chance."
    )
    return "\n".join([*lines, "", words])


def run_label(name: str) -> str:
    """How a trained policy is called: the study trained seeds 0, 1, ... into runs 1, 2, ..."""
    found = re.search(r"_(\d+)$", name)
    return f"**PPO**, training seed {int(found.group(1)) - 1}" if found else f"**{name}**"


def spread(interval: dict[str, Any], signed: bool = False) -> str:
    """Mean and interval of one figure."""
    sign = "+" if signed else ""
    mean, low, high = (format(interval[name], f"{sign}.3f") for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


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


BLOCKS: dict[str, Callable[[], str]] = {
    **{name: partial(study, name) for name in STUDIES},
    "throughput": throughput,
    "reasons": reasons,
    "placement": placement,
    "metering": metering,
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
