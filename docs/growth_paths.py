"""The blocks of docs/growth-paths.md; `docs/figures.py` writes them. Without results they show the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from claim import table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "growth-paths"
COMMAND = "python experiments/growth_paths_analysis.py"
DATASETS = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar-10": "CIFAR-10"}
STARTS = {"random": "random", "gradmax": "GradMax"}
COMPONENTS = {"path": "path", "interaction": "path × trial", "trial": "trial"}
Line = Mapping[str, Any]


def from_results(block: Callable[[Line], str]) -> Callable[[], str]:
    """A block made from the analysis, or the command where there is none yet."""

    @wraps(block)
    def made() -> str:
        path = RESULTS / "analysis.json"
        if not path.is_file():
            return f"not run yet: `{COMMAND}`"
        results = json.loads(path.read_text(encoding="utf-8"))
        DATASETS.update(results["titles"])  # with what data says about itself
        return block(results)

    return made


def interval(each: Line, digits: int = 2, signed: bool = False, factor: float = 1.0) -> str:
    """An estimate with its interval."""
    sign = "+" if signed else ""
    mean, low, high = (f"{factor * each[name]:{sign}.{digits}f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def difference(each: Line) -> str:
    """A difference in points, bold where its interval excludes 0."""
    text = interval(each, signed=True)
    return f"**{text}**" if each["low"] * each["high"] > 0 else text


def probability(p: float) -> str:
    """A probability as text."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdict(p: float, level: float) -> str:
    """What a corrected probability allows to say of the order of growth."""
    return "matters" if 1 - p > level else "was not shown to matter"


def keyed(results: Line) -> list[tuple[str, str, Line]]:
    """Data set, start and findings of every run."""
    return [(dataset, start, run) for dataset, each in results["runs"].items() for start, run in each.items()]


def named(dataset: str, start: str) -> list[str]:
    """The first two cells of a line."""
    return [DATASETS[dataset], STARTS[start]]


def picture(name: str, title: str) -> list[str]:
    """A link to a picture, if it is there."""
    return [f"![{title}](results/growth-paths/{name}.png)"] if (RESULTS / f"{name}.png").is_file() else []


def joined(words: Sequence[str]) -> str:
    """Words as an enumeration."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def compared(path: Line, trial: Line) -> str:
    """The effect of the path beside that of the trial, as far as their intervals allow."""
    if path["high"] < trial["low"]:
        return "less than the trial does"
    if path["low"] > trial["high"]:
        return "more than the trial does"
    return "not distinguishable in size from what the trial does"


def stuck(share: float) -> str:
    """What has to be said beside an effect where many trainings end at chance."""
    if share < 0.05:
        return ""
    return (
        f" {share:.0%} of its trainings end at chance, so much of the effect is which paths still learn, and intervals "
        "that assume normal trials fit such an outcome badly."
    )


def learned_nothing(results: Line) -> str:
    """How many trainings end at chance, in words."""
    shares = {(dataset, start): run["at chance"] for dataset, start, run in keyed(results)}
    stuck = [f"{DATASETS[d]}, {STARTS[s]} start: {share:.0%}" for (d, s), share in shares.items() if share >= 0.005]
    if not stuck:
        return "No training ends at chance (below 11 %)."
    return f"Of all trainings, so many end at chance (below 11 %): {'; '.join(stuck)}; elsewhere none."


# -- blocks ------------------------------------------------------------------------------------------------------------


@from_results
def answer(results: Line) -> str:
    """Whether the order matters, a sentence for each run, with number and interval."""
    lines = []
    for dataset, start, run in keyed(results):
        found = run["components"]
        sd, share = found["sd"]["path"], found["share"]["path"]
        said = verdict(found["p of all"], results["level"])
        lines.append(
            f"- {DATASETS[dataset]}, {STARTS[start]} start: the order of growth **{said}** (p "
            f"{probability(found['p of all'])}). Over all {run['paths']:,} paths, the SD of its effect is "
            f"{interval(sd)} points of test accuracy, {compared(sd, found['sd']['trial'])} "
            f"({interval(found['sd']['trial'])}); it is {interval(share, 0, factor=100)} % of the variance of a single "
            f"training.{stuck(run['at chance'])}"
        )
    shown = [key for key in keyed(results) if 1 - key[2]["components"]["p of all"] > results["level"]]
    count = len(lines)
    head = f"The order of growth {verdict(0.0 if shown else 1.0, results['level'])}"
    head += f" in {len(shown)} of {count} experiments." if shown else f" in any of {count} experiments."
    return "\n\n".join([head, "\n".join(lines), *other_steps(results["other steps"])])


def other_steps(others: Sequence[Line]) -> list[str]:
    """What becomes of the effect with another step size, in one sentence for all runs with one."""
    said = [
        f"{DATASETS[each['data set']]}, {STARTS[each['start']]} start, at {each['step']}: "
        f"{interval(each['components']['sd']['path'])} points, {each['at chance']:.0%} of trainings at chance"
        for each in others
    ]
    return [f"With another step size, on fewer paths and trials, the SD is: {'; '.join(said)}."] if said else []


@from_results
def accuracies(results: Line) -> str:
    """Root, target, mean path, best and worst drawn path and named paths; mean and SD over trials in percent."""

    def cell(each: Line) -> str:
        return f"{each['mean']:.2f} ± {each['sd']:.2f}"

    runs = keyed(results)
    names = list(dict.fromkeys(name for _, _, run in runs for name in run["accuracy"]["named"]))
    head = ["data set", "start", "root", "target", "mean path", *names, "best drawn", "worst drawn"]
    rows, choices = [], []
    for dataset, start, run in runs:
        found = run["accuracy"]
        fixed = [cell(found["named"][name]) if name in found["named"] else "" for name in names]
        first, last = (
            [cell(found[name]) for name in group] for group in (("root", "target", "mean path"), ("best", "worst"))
        )
        rows.append([*named(dataset, start), *first, *fixed, *last])
        choices.append([*named(dataset, start), *(f"`{found[name]['path']}`" for name in ("best", "worst"))])
    beside = [
        [
            *named(dataset, start),
            *(difference(run["accuracy"][f"mean path minus {name}"]) for name in ("root", "target")),
        ]
        for dataset, start, run in runs
    ]
    words = (
        "Test accuracy in percent, mean ± SD over trials. The mean path is that of all paths, not of the drawn ones. "
        "Best and worst were chosen by the numbers shown, so the one looks too good and the other too bad; the "
        "differences of best and worst below are corrected for that."
    )
    pictures = [
        line for dataset, start, _ in runs for line in picture(f"{dataset}-{start}", " ".join(named(dataset, start)))
    ]
    return "\n\n".join(
        [
            table(head, rows),
            words,
            learned_nothing(results),
            table(["data set", "start", "mean path minus root", "mean path minus target"], beside),
            table(["data set", "start", "best drawn path", "worst drawn path"], choices),
            "Paths are read from the left: `1x3` is three steps of layer 1.",
            *pictures,
        ]
    )


@from_results
def variance(results: Line) -> str:
    """Standard deviations and shares of path, interaction and trial, the test, and what best and worst are worth."""
    runs = keyed(results)
    sds = [
        [
            *named(dataset, start),
            *(interval(run["components"]["sd"][name]) for name in COMPONENTS),
            *(probability(run["components"][name]) for name in ("p of any", "p of lead", "p of all")),
        ]
        for dataset, start, run in runs
    ]
    shares = [
        [*named(dataset, start), *(interval(run["components"]["share"][name], 0, factor=100) for name in COMPONENTS)]
        for dataset, start, run in runs
    ]
    ranges = [
        [
            *named(dataset, start),
            str(run["drawn"]),
            f"{run['extremes']['observed']:.2f}",
            f"{run['extremes']['without effect']:.2f} (at most {run['extremes']['without effect, 95 %']:.2f})",
            interval(run["extremes"]["shrunken"]),
            difference(run["extremes"]["held out"]),
        ]
        for dataset, start, run in runs
    ]
    head = ["data set", "start", *COMPONENTS.values()]
    best = ["data set", "start", "paths", "observed", "by noise alone (95 %)", "shrunken", "held out"]
    trials = " or ".join(map(str, sorted({run["trials"] for _, _, run in runs})))
    return "\n\n".join(
        [
            "Standard deviations in points of test accuracy:",
            table([*head, "p, any effect", "p, lead", "p, both and all runs"], sds),
            "Shares of the variance of a single training, in percent:",
            table(head, shares),
            f"95 % intervals over other paths and other trials; {trials} trials say little about the spread of trials, "
            "so shares are less certain than standard deviations of paths. The last p is the smaller one of both "
            "tests, corrected for two tests (Bonferroni) and for the number of runs (Holm).",
            *picture("components", "Standard deviations and shares of path, interaction and trial"),
            "Difference of best and worst path in points:",
            table(best, ranges),
            "*By noise alone* is what the best and the worst of as many paths without any effect would differ by. "
            "*Shrunken* is the true difference to expect of the two paths that were observed as best and worst. *Held "
            "out* chooses both by validation accuracy in all trials but one, and tests them in that one.",
        ]
    )


def better(lead: Line) -> str:
    """Which layer should be ahead, and whether wholly, from the slope at even growth and the bend."""
    slope, bend = lead["slope"], lead["bend"]
    if slope["low"] <= 0 <= slope["high"]:
        return "Neither layer first was shown to be better"
    layer = 1 if slope["mean"] > 0 else 2
    if bend["high"] < 0 and -bend["mean"] > abs(slope["mean"]):
        return f"Better to have layer {layer} ahead, but not wholly first, which loses against even growth"
    return f"Better to grow layer {layer} first"


@from_results
def ahead(results: Line) -> str:
    """How accuracy follows the lead of layer 1."""
    rows = [
        [*named(dataset, start), *(difference(run["lead"][name]) for name in ("slope", "bend"))]
        for dataset, start, run in keyed(results)
    ]
    groups: dict[str, list[str]] = {}
    for dataset, start, run in keyed(results):
        groups.setdefault(better(run["lead"]), []).append(f"{DATASETS[dataset]} with {STARTS[start]} start")
    words = [f"- {said}: {joined(where)}." for said, where in groups.items()]
    return "\n\n".join(
        [
            table(["data set", "start", "slope, points for a whole lead", "bend, points"], rows),
            "The slope is what layer 1 wholly first gains over both layers evenly, along the line; layer 1 first "
            "differs from layer 2 first by twice as much. The bend is what both extremes have in common "
            "against even growth.",
            "\n".join(words),
            *picture("lead", "Accuracy over the lead of layer 1"),
        ]
    )


@from_results
def starts(results: Line) -> str:
    """GradMax start minus random start, and how alike path effects are."""
    compared_ = results["gradmax minus random"]
    if not compared_:
        return f"Both starts of a data set are needed: `{COMMAND}`"
    rows = [
        [
            DATASETS[dataset],
            difference(each["mean"]),
            interval(each["by path"]["sd"]["path"]),
            probability(each["by path"]["p of all"]),
            difference(each["lead"]["slope"]),
            interval(each["correlation"]) if each["correlation"] else "not estimated",
        ]
        for dataset, each in compared_.items()
    ]
    head = ["data set", "mean path", "SD by path", "p of SD or slope", "slope over lead", "correlation of path effects"]
    alike = [
        f"- {joined([DATASETS[name] for name in each['data sets']])}, {STARTS[each['start']]} start: "
        f"{interval(each['correlation'])}."
        for each in results["between data sets"]
    ]
    words = (
        "GradMax start minus random start in points, the same paths in the same trials. *SD by path* is how "
        "differently the start works on different paths. The correlation is freed from noise; it is not estimated "
        "where the order of growth was not shown to matter."
    )
    return "\n\n".join(
        [
            table(head, rows),
            words,
            *(["Correlation of path effects between data sets:", "\n".join(alike)] if alike else []),
        ]
    )


@from_results
def step_sizes(results: Line) -> str:
    """The same with other step sizes, beside the report's."""
    others = results["other steps"]
    if not others:
        other = "--datasets cifar-10 --learning-rate 1e-3 --paths 5 --trials 3"
        return f"not run yet: `python experiments/growth_paths.py {other}`"
    rows = []
    for dataset, start, run in keyed(results):
        mine = [each for each in others if (each["data set"], each["start"]) == (dataset, start)]
        for step, each in [("0.005", run), *((each["step"], each) for each in mine)] if mine else []:
            found = each["accuracy"]
            rows.append(
                [
                    *named(dataset, start),
                    step,
                    f"{each['drawn']} x {each['trials']}",
                    *(f"{found[name]['mean']:.2f}" for name in ("target", "mean path")),
                    f"{each['at chance']:.0%}",
                    interval(each["components"]["sd"]["path"]),
                    difference(each["lead"]["slope"]),
                ]
            )
    head = ["data set", "start", "step size", "paths x trials", "target", "mean path", "at chance", "SD of paths"]
    return table([*head, "slope over lead"], rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "growth-paths-answer": answer,
    "growth-paths-accuracies": accuracies,
    "growth-paths-variance": variance,
    "growth-paths-lead": ahead,
    "growth-paths-starts": starts,
    "growth-paths-steps": step_sizes,
}
