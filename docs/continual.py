"""The blocks of docs/continual.md; `docs/figures.py` writes them. An experiment without results shows its command."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "continual"
BENCHMARK = ROOT / "benchmarks" / "results" / "continual.json"
EXPERIMENTS = (
    *("split_mnist", "split_fashion_mnist", "permuted_mnist"),
    *("den_capacity", "firefly_continual", "experts"),
)
WAYS = {
    "stack": "all seeds in one stack",
    "in turn": "one network after the other",
    "plain": "a plain PyTorch loop",
    "avalanche": "Avalanche",
}
NOTHING = "–"
Line = Mapping[str, Any]
Columns = Mapping[str, Callable[[Line], str]]


def read(name: str, file: str = "results.json") -> dict[str, Any] | None:
    """A results file of an experiment; None where there is none yet."""
    path = RESULTS / name / file
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def missing(command: str) -> str:
    """What stands in place of results."""
    return f"not run yet: `{command}`"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def laid_out(lines: Sequence[Line], columns: Columns) -> str:
    """Lines as a Markdown table, a column for each function."""
    return table(list(columns), [[cell(line) for cell in columns.values()] for line in lines])


# -- single cells ------------------------------------------------------------------------------------------------------


def accuracy(line: Line) -> str:
    """Mean and standard deviation over seeds, in percent."""
    acc = line["acc"]
    return f"{acc['mean']:.2f}" if acc["sd"] is None else f"{acc['mean']:.2f} ± {acc['sd']:.2f}"


def interval(line: Line) -> str:
    """95 % interval of the mean."""
    acc = line["acc"]
    return NOTHING if acc["low"] is None else f"{acc['low']:.2f} … {acc['high']:.2f}"


def kept(line: Line) -> str:
    """Kilobytes of the network, and of what the protection keeps besides."""
    sizes = [line[name] / 1000 for name in ("network_bytes", "memory_bytes")]
    return " + ".join(f"{size:,.{2 if 0 < size < 10 else 0}f}" for size in sizes)


def widths(line: Line) -> str:
    """Mean widths of the hidden layers at the end."""
    return "/".join(f"{width:.0f}" for width in line["widths"])


def theirs(line: Line) -> str:
    """Published numbers with protocol and certainty."""
    return "; ".join(map(number, line["published"])) or NOTHING


def number(each: Line) -> str:
    """One published number with what is known about it."""
    spread = f" ± {each['spread']}" if each["spread"] else ""
    return f"{each['value']:g}{spread} ({each['protocol']}, {each['certainty']})"


def verdicts(line: Line) -> str:
    """Where the published numbers lie, seen from our interval."""
    return "; ".join(each["verdict"] for each in line["published"]) or NOTHING


WHAT: Columns = {
    "protocol": lambda line: line["protocol"],
    "scenario": lambda line: line["scenario"],
    "system": lambda line: line["system"],
}
OURS: Columns = {
    "ACC ± SD": accuracy,
    "95 % interval": interval,
    "BWT": lambda line: f"{line['bwt']['mean']:.2f}",
    "seeds": lambda line: str(line["seeds"]),
}
SIZES: Columns = {"widths": widths, "network + kept, kB": kept}
COLUMNS: dict[str, Columns] = {
    "split_mnist": {**WHAT, "published": theirs, **OURS, "verdict": verdicts, "network + kept, kB": kept},
    "split_fashion_mnist": {**WHAT, **OURS, "network + kept, kB": kept},
    "permuted_mnist": {**WHAT, **OURS, **SIZES},
    "firefly_continual": {**WHAT, **OURS, **SIZES, "parameters": lambda line: f"{line['parameters']:,.0f}"},
    "experts": {**WHAT, **OURS, **SIZES},
}


# -- what stands below a table -----------------------------------------------------------------------------------------


def sources(lines: Sequence[Line]) -> list[str]:
    """Where the published numbers of some lines come from, a sentence for each."""
    each_one = (each for line in lines for each in line["published"])
    every = dict.fromkeys((each["protocol"], each["source"], each["certainty"]) for each in each_one)
    return [f"- Published, {protocol}: {source} ({certainty})." for protocol, source, certainty in every]


def protocols(name: str) -> list[str]:
    """What the table of an experiment says of its protocols, deviations included."""
    path = RESULTS / name / "table.md"
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    part = page.partition("## Protocols\n")[2].partition("\n## ")[0]
    return [f"- Protocol {line.removeprefix('- ').strip()}" for line in part.splitlines() if line.startswith("- ")]


def notes(lines: Sequence[Line]) -> list[str]:
    """What must be known beside some lines, said once for all lines with the same note."""
    said: dict[str, list[Line]] = {}
    for line in lines:
        if line["note"]:
            said.setdefault(line["note"], []).append(line)
    return [f"- {_named(about)}: {note}." for note, about in said.items()]


def _named(lines: Sequence[Line]) -> str:
    """Each line by its names; where there are many, their systems and protocols."""
    if len(lines) <= 5:
        return "; ".join(f"{line['system']} ({line['protocol']}, {line['scenario']})" for line in lines)
    systems, under = (dict.fromkeys(line[name] for line in lines) for name in ("system", "protocol"))
    return f"{'; '.join(systems)} ({', '.join(under)})"


def picture(name: str, file: str, title: str) -> list[str]:
    """A link to a picture, if it is there."""
    return [f"![{title}](results/continual/{name}/{file})"] if (RESULTS / name / file).is_file() else []


def made_by(results: Line) -> str:
    """The command behind results."""
    return f"Made by `{results['command']}` with torch {results['versions']['torch']}."


# -- blocks ------------------------------------------------------------------------------------------------------------


def experiment(name: str, image: str = "accuracy.png", title: str = "Accuracy of every line") -> str:
    """The lines of an experiment, and what must be known about them."""
    results = read(name)
    if results is None:
        return missing(f"python experiments/{name}.py")
    lines = results["lines"]
    below = [*protocols(name), *sources(lines), *notes(lines)]
    parts = [laid_out(lines, COLUMNS[name]), made_by(results), *(["\n".join(below)] if below else [])]
    return "\n\n".join([*parts, *picture(name, image, title)])


def capacity() -> str:
    """Accuracy over capacity on every stream, and which share of separate networks is enough."""
    name = "den_capacity"
    results, found = read(name), read(name, "capacity.json")
    if results is None or found is None:
        return missing(f"python experiments/{name}.py")
    columns: Columns = {
        "stream": lambda each: each["stream"],
        "system": lambda each: each["system"],
        "width": lambda each: each["width"],
        "ACC ± SD": lambda each: f"{each['acc']:.2f}" + ("" if each["sd"] is None else f" ± {each['sd']:.2f}"),
        "parameters": lambda each: f"{each['parameters']:,.0f}",
        "MACs": lambda each: f"{each['macs']:,.0f}",
        "memristors": lambda each: _percent(each["memristors"], 2, "does not fit"),
        "of separate, same accuracy": lambda each: _percent(each["relative_parameters"], 1, NOTHING),
    }
    said = ["As accurate as the largest separate networks:", "\n".join(map(enough, found["claims"])) or NOTHING]
    below = [*protocols(name), *published_sizes(), *notes(results["lines"])]
    parts = [laid_out(found["points"], columns), made_by(results), *said, "\n".join(below)]
    return "\n\n".join([*parts, *picture(name, "capacity.png", "Accuracy over capacity")])


def _percent(share: float | None, digits: int, otherwise: str) -> str:
    return otherwise if share is None else f"{100 * share:.{digits}f} %"


def enough(claim: Line) -> str:
    """One claim about capacity as a sentence."""
    where = f"- {claim['stream']}, {claim['system']}: "
    if claim["share"] is None:
        asked, best = (f"{claim[name]:.2f} %" for name in ("asked", "best"))
        return f"{where}no network reaches the {asked} of separate networks; its best is {best}."
    return f"{where}{100 * claim['share']:.1f} % of their parameters for at least their {claim['asked']:.2f} %."


def published_sizes() -> list[str]:
    """The published sizes relative to separate networks."""
    return [
        f"- Published size of {each['system']} on {each['protocol']}: {float(each['value']):g} {each['metric'][6:]} "
        f"({each['certainty']}; {each['source']})."
        for each in published()
        if each["metric"].startswith("size, ")
    ]


def routing() -> str:
    """Where the samples of each task go, and who serves pixel orders that return."""
    found = read("experts", "routing.json")
    if found is None:
        return missing("python experiments/experts.py")
    shares = [
        [name, str(task), *(f"{100 * value:.1f}" for value in row)]
        for name, each in found["routing"].items()
        for task, row in enumerate(_mean(each["share"]))
    ]
    most = max(len(row) for row in shares) - 2
    rows = [[*row, *[""] * (most + 2 - len(row))] for row in shares]
    told = found["assignments"]
    serving = [
        [str(task), str(order), _values(told["serves"], task), _values(told["since"], task, task * told["minibatches"])]
        for task, order in enumerate(told["orders"])
    ]
    right = [
        f"- {name}: the task's own expert gets {100 * sum(each['right']) / len(each['right']):.2f} % of all samples."
        for name, each in found["routing"].items()
    ]
    return "\n\n".join(
        [
            "Share of each task's test samples that each expert gets, in percent, mean over seeds:",
            table(["stream", "task", *(f"expert {each}" for each in range(most))], rows),
            "\n".join(right),
            f"Pixel orders that return; units grow half way through each task of {told['minibatches']} minibatches:",
            table(["task", "pixel order", "served by expert", "since minibatch of the task"], serving),
            *picture("experts", "routing.png", "Where samples go, and whose units there are"),
        ]
    )


def _mean(shares: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """Mean over the first axis, the seeds."""
    return [[sum(cell) / len(shares) for cell in zip(*rows, strict=True)] for rows in zip(*shares, strict=True)]


def _values(seeds: Sequence[Sequence[int]], task: int, offset: int = 0) -> str:
    return ", ".join(map(str, sorted({seed[task] - offset for seed in seeds})))


def speed() -> str:
    """Seconds of processor time of ten seeds, in four ways."""
    if not BENCHMARK.is_file():
        return missing("python benchmarks/continual.py")
    results = json.loads(BENCHMARK.read_text(encoding="utf-8"))
    ways = [way for way in WAYS if any(way in line["seconds"] for line in results["lines"])]
    rows = []
    for line in results["lines"]:
        seconds, stack = line["seconds"], line["seconds"]["stack"]
        cells = [
            NOTHING
            if way not in seconds
            else f"{seconds[way]:.2f}" + ("" if way == "stack" else f" ({seconds[way] / stack:.1f})")
            for way in ways
        ]
        network = "-".join(map(str, (line["inputs"], *line["widths"])))
        rows.append([network, str(line["batch"]), line["protection"], *cells])
    other = f"; Avalanche {results['avalanche']}" if results["avalanche"] else ""
    count = results["lines"][0]["minibatches"]
    words = (
        f"Seconds of processor time for {results['seeds']} seeds and {count} minibatches in {results['tasks']} tasks; "
        f"in brackets, as a multiple of the stack's. {results['machine']['threads']} thread; "
        f"torch {results['machine']['torch']}{other}."
    )
    return "\n\n".join([table(["network", "batch", "protection", *(WAYS[way] for way in ways)], rows), words])


def published() -> list[dict[str, str]]:
    """All published numbers that are written down."""
    with (RESULTS / "published.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def not_rerun() -> str:
    """Published numbers that stand beside no line of ours."""
    identity = ("system", "scenario", "protocol", "metric", "source")
    beside = {
        tuple(each[name] for name in identity)
        for name in EXPERIMENTS
        for line in (read(name) or {"lines": []})["lines"]
        for each in line["published"]
    }
    rows = [
        [
            *(each[name] for name in ("system", "scenario", "protocol", "metric")),
            each["value"] + (f" ± {each['spread']}" if each["spread"] else ""),
            *(each[name] for name in ("certainty", "source")),
        ]
        for each in published()
        if tuple(each[name] for name in identity) not in beside
    ]
    return table(("system", "scenario", "protocol", "metric", "published", "certainty", "source"), rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "continual-split-mnist": partial(experiment, "split_mnist"),
    "continual-split-fashion-mnist": partial(experiment, "split_fashion_mnist"),
    "continual-permuted-mnist": partial(experiment, "permuted_mnist"),
    "continual-capacity": capacity,
    "continual-firefly": partial(experiment, "firefly_continual", "size.png", "Accuracy against size"),
    "continual-experts": partial(experiment, "experts"),
    "continual-routing": routing,
    "continual-speed": speed,
    "continual-not-rerun": not_rerun,
}
