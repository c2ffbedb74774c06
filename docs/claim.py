"""The blocks of README.md and docs/evaluation.md that show the study of the claim; `docs/figures.py` writes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
STUDIES = {"test": "mixed-digits", "ood": "mixed-digits-ood"}
"""Folder in docs/results of each split of the default environment."""
IMAGES = {"MNIST": "mixed-mnist", "Fashion-MNIST": "mixed-fashionmnist"}
TUNED, LEADER = "-tuned", "learned"
HIDDEN = ("oracle-same-seed", "static-final-size", "average-schedule", "sampled-actions", "static-large")
"""Players that a short table leaves out; they are on the page about evaluation."""
SHOWN_GATES = 3
"""Tuned gates, the best ones, that a short table shows."""

Row = dict[str, Any]


def read(folder: str) -> dict[str, Any]:
    """The results of a study."""
    results: dict[str, Any] = json.loads((RESULTS / folder / "results.json").read_text())
    return results


def spread(interval: dict[str, Any] | None, signed: bool = False) -> str:
    """Mean and interval of one figure; nothing where there is none."""
    if interval is None:
        return ""
    sign = "+" if signed else ""
    mean, low, high = (format(interval[name], f"{sign}.3f") for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def of_kind(results: dict[str, Any], *kinds: str) -> list[Row]:
    """Players of some kinds, highest return first."""
    return [row for row in results["players"] if row["kind"] in kinds]


def by_name(results: dict[str, Any]) -> dict[str, Row]:
    """Players by name."""
    return {row["name"]: row for row in results["players"]}


def tuned_gates(results: dict[str, Any]) -> list[Row]:
    """Tuned gates, highest return first."""
    return [row for row in of_kind(results, "gate") if row["name"].endswith(TUNED)]


def label(row: Row) -> str:
    """How a player is called in a table."""
    name = {"ppo": "PPO"}.get(row["name"], row["name"])
    seeds = f", {len(row['seeds'])} training seeds" if len(row["seeds"]) > 1 and row["kind"] == LEADER else ""
    return f"**{name}**{seeds}" if row["kind"] == LEADER else f"`{name}`"


def effort(row: Row) -> str:
    """Steps before the first episode, and extra steps of each one."""
    extra = f"{row['steps_per_episode']:,.0f} an episode" if row["steps_per_episode"] else ""
    return " + ".join(filter(None, [f"{row['steps']:,}" if row["steps"] or not extra else "", extra]))


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *lines])


def players(rows: Sequence[Row]) -> str:
    """The usual columns of some players."""
    head = ("policy", "return", "accuracy", "cost", "return minus best fixed schedule", "steps to train or tune")
    lines = [
        [
            label(row),
            *(spread(row[name]) for name in ("return_", "accuracy", "cost")),
            spread(row["over_fixed"], signed=True),
            effort(row),
        ]
        for row in rows
    ]
    return table(head, lines)


def sentences(results: dict[str, Any], *, about: str = "ppo") -> str:
    """The verdicts on one player, as a list."""
    return "\n".join(f"- {line}" for line in results["verdicts"] if line.startswith(f"{about}: "))


def study(split: str) -> str:
    """The short table of a split: the policy, the best gates, schedules and controls."""
    results = read(STUDIES[split])
    gates = tuned_gates(results)[:SHOWN_GATES]
    rows = [row for row in of_kind(results, "learned", "schedule", "search", "control", "oracle") if shown(row)]
    return "\n\n".join([players(sorted([*rows, *gates], key=lambda row: -row["return_"]["mean"])), in_brief(results)])


def shown(row: Row) -> bool:
    """Whether a player stands in the short table."""
    return row["name"] not in HIDDEN


def in_brief(results: dict[str, Any]) -> str:
    """One paragraph on what was shown."""
    policy = of_kind(results, LEADER)[0]
    best_gate = max(of_kind(results, "gate"), key=lambda row: row["return_"]["mean"])
    seeds, over = policy["seeds"], best_gate["return_"]["mean"]
    words = [
        f"{results['contexts']} contexts x {results['inner_seeds']} inner seed{'s' * (results['inner_seeds'] > 1)}, "
        f"{len(seeds)} training seeds "
        f"(their means: {min(seeds):.3f} to {max(seeds):.3f}). PPO minus the best fixed schedule: "
        f"{spread(policy['over_fixed'], signed=True)}; minus the best gate, `{best_gate['name']}`: "
        f"{spread(policy['over_gate'], signed=True)}; {sum(mean > over for mean in seeds)} of {len(seeds)} training "
        "seeds are above that gate."
    ]
    if policy["gap"] is not None and policy["gap"]["ratio"] is not None:
        lucky = by_name(results)["oracle-same-seed"]["over_fixed"]["mean"]
        words.append(
            f"PPO closes {spread(policy['gap']['ratio'])} of the gap between the best fixed schedule and the oracle: "
            "more than all of it is possible, because the oracle does not see how training goes. Of the gap to the "
            "oracle's sequences where they were found, with the luck that chose them, it closes "
            f"{policy['over_fixed']['mean'] / lucky:.2f}."
        )
    return " ".join(words)


def claim() -> str:
    """Everybody on the test split, and the verdicts."""
    results = read(STUDIES["test"])
    rows = [row for row in results["players"] if row["kind"] not in ("control", "ablation")]
    return "\n\n".join([players([row for row in rows if untuned(row, results)]), sentences(results)])


def untuned(row: Row, results: dict[str, Any]) -> bool:
    """Whether a player is something else than a gate with its published constants, which the page on growth shows."""
    return row["kind"] != "gate" or row["name"].endswith(TUNED)


def ood_claim() -> str:
    """The verdicts on the ood split."""
    results = read(STUDIES["ood"])
    return "\n\n".join([study("ood"), sentences(results)])


def controls() -> str:
    """Policies without their reactions, and policies that were trained with less."""
    results = read(STUDIES["test"])
    lines = [
        [label(row), spread(row["return_"]), spread(row["cost"]), spread(row["over_fixed"], signed=True), row["note"]]
        for row in of_kind(results, "learned", "control", "ablation")
    ]
    head = ("policy", "return", "cost", "return minus best fixed schedule", "what it is")
    about = [line for line in results["verdicts"] if "react" in line or line.startswith("ppo without")]
    return "\n".join([table(head, lines), "", *(f"- {line}" for line in about)])


def pareto() -> str:
    """The policy at single prices, and what it saves at equal accuracy."""
    sweep = read(STUDIES["test"])["price_sweep"]
    family, (name, savings) = sweep["families"][0], next(iter(sweep["savings"].items()))
    lines = []
    for point, saving in zip(family["points"], savings, strict=True):
        cells = [point["label"].removeprefix("price "), f"{point['accuracy']:.3f}", f"{point['cost']:.3f}"]
        cells.append("" if saving["front_cost"] is None else f"{saving['front_cost']:.3f}")
        lines.append([*cells, *(percent(saving[part]) for part in ("total", "new"))])
    head = ("price", "accuracy", "cost", "cost of schedules at this accuracy", "saved", "saved of what grows")
    areas = ", ".join(f"{each['name']} {each['hypervolume']:.4f}" for each in sweep["families"])
    reference = sweep["reference"]
    words = (
        f"{name} plays {sweep['contexts']} test contexts with the price pinned; schedules are the front of a family, "
        "built anew on these contexts. What grows is the cost beyond the network that all start from "
        f"({sweep['initial_cost']:.3f}). Hypervolume up to cost {reference['cost']:g} and accuracy "
        f"{reference['accuracy']:g}: {areas}."
    )
    learned, schedules = sweep["families"][0], sweep["families"][len(sweep["savings"])]
    above = all(saving["total"]["low"] > 0 for saving in savings if saving["total"] is not None)
    if learned["hypervolume"] < schedules["hypervolume"] and above:
        words += (
            " The schedules' area is the larger one because their front reaches down to never growing, while the "
            "policy still grows at the highest price; where both fronts have points, the policy's lie above."
        )
    return "\n".join([table(head, lines), "", words])


def percent(interval: dict[str, Any] | None) -> str:
    """A share with its interval, in percent."""
    if interval is None or interval["low"] is None:
        return "" if interval is None else f"{100 * interval['mean']:.0f} %"
    return f"{100 * interval['mean']:.0f} % [{100 * interval['low']:.0f}, {100 * interval['high']:.0f}]"


def amortised() -> str:
    """After how many episodes training has cost less than what else could be done."""
    sys.path.insert(0, str(ROOT))
    try:
        from agents.amortised import break_even
    finally:
        sys.path.pop(0)
    results = read(STUDIES["test"])
    policy = of_kind(results, LEADER)[0]
    lines = []
    for row in [*of_kind(results, "search"), by_name(results)["best-fixed"], *tuned_gates(results)[:1]]:
        episodes = break_even(policy["steps"], 0.0, row["steps"], row["steps_per_episode"])
        again = break_even(policy["steps"], 0.0, 0, row["steps"]) if row["steps"] else None
        gain = policy["return_"]["mean"] - row["return_"]["mean"]
        counts = ["never" if episodes is None else f"{episodes:,}", "" if again is None else f"{again:,}"]
        lines.append([label(row), effort(row), f"{gain:+.3f}", *counts])
    head = ("instead of PPO", "steps", "PPO gains", "PPO has cost less after episodes", "if tuned anew, after times")
    words = f"One training run took {policy['steps']:,} steps, the evaluations that chose its checkpoint included."
    return "\n".join([table(head, lines), "", words])


def transfer() -> str:
    """Policies trained on digits, on other images."""
    parts = []
    for title, folder in IMAGES.items():
        results = read(folder)
        parts += [f"**{title}**", players(results["players"]), sentences(results)]
    return "\n\n".join(parts)


def learning() -> str:
    """How fast training passes the best fixed schedule."""
    results = read("learning")
    seconds = [each for each in results["seconds_to_reach_best_fixed"] if each is not None]
    count = len(results["seconds_to_reach_best_fixed"])
    ends = [run["seconds"][-1] for run in results["runs"]]
    return (
        f"On the {results['val_contexts']} val contexts that watched training the best fixed schedule returns "
        f"{results['best_fixed']:.3f}. {len(seconds)} of {count} training seeds got above it, after "
        f"{min(seconds):.0f} to {max(seconds):.0f} s (median {sorted(seconds)[len(seconds) // 2]:.0f} s); training "
        f"ended after {min(ends):.0f} to {max(ends):.0f} s. Seconds are wall-clock seconds with other work going on "
        "beside each run."
    )


def gates() -> str:
    """All gates, untuned and tuned, between the best fixed schedule and the learned policy."""
    results = read(STUDIES["test"])
    rows, policy = by_name(results), of_kind(results, LEADER)[0]
    lines = []
    for row in tuned_gates(results):
        name = row["name"].removesuffix(TUNED)
        options = results["searches"][row["name"]]["best"]["options"]
        setting = ", ".join(
            f"{key} {value:.4g}" if type(value) is float else f"{key} {value}" for key, value in options.items()
        )
        cells = [spread(rows[name]["return_"]), spread(row["return_"]), spread(row["over_fixed"], signed=True)]
        lines.append([f"`{name}`", *cells, setting])
    head = ("gate", "return, untuned", "return, tuned", "tuned minus best fixed schedule", "setting that was found")
    steps = [results["searches"][row["name"]]["steps"] for row in tuned_gates(results)]
    words = (
        f"The best fixed schedule returns {spread(rows['best-fixed']['return_'])}, PPO {spread(policy['return_'])}. "
        f"Tuning took {min(steps):,} to {max(steps):,} steps of the environment for a gate, "
        f"{results['searches']['best-fixed']['steps']:,} for the schedule; training PPO took {policy['steps']:,}."
    )
    return "\n".join([table(head, lines), "", words])


BLOCKS: dict[str, Callable[[], str]] = {
    "study": partial(study, "test"),
    "ood": partial(study, "ood"),
    "claim": claim,
    "ood-claim": ood_claim,
    "controls": controls,
    "pareto": pareto,
    "amortised": amortised,
    "transfer": transfer,
    "learning": learning,
    "gates": gates,
}
