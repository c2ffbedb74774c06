"""The block of docs/growth-paths.md on agents; `docs/figures.py` writes it. Without results it shows the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "growth-paths" / "agents"
COMMAND = "python experiments/path_agents.py --elsewhere fashion-mnist --processes 2"
SPLITS = ("train", "test")
ELSEWHERE = "elsewhere"
EQUAL = 1e-9
"""Regrets of equal paths differ by rounding."""
TITLES = {"ppo": "PPO", "a2c": "A2C", "dqn": "DQN"}


def path_agents() -> str:
    """All agents on every table that has results."""
    files = sorted(RESULTS.glob("*.json"))
    if not files:
        return f"not run yet: `{COMMAND}`"
    return "\n\n".join(section(json.loads(path.read_text(encoding="utf-8")), path.stem) for path in files)


def verdict() -> str:
    """What PPO reaches on the table of digits, for README.md."""
    path = RESULTS / "digits-final.json"
    if not path.is_file():
        return f"not run yet: `{COMMAND}`"
    results = json.loads(path.read_text(encoding="utf-8"))
    settings = results["settings"]
    said = sentence(results["agents"], results["references"], settings.get(ELSEWHERE))
    seeds = len(settings["seeds"])
    return f"{said} Regret is in points of accuracy, against the best of all orders; {seeds} seeds."


def section(results: Mapping[str, Any], name: str) -> str:
    """Table, words and picture of one results file."""
    settings, references, agents = (results[key] for key in ("settings", "references", "agents"))
    ordered = sorted(agents, key=lambda agent: agents[agent]["points"][-1]["train"]["mean"])
    splits = list(references["optimum"])
    elsewhere = [f"on `{settings['elsewhere']}`"] if ELSEWHERE in splits else []
    judged = ["regret, trials learned from", "held-out trials", *elsewhere]
    head = ["agent", *judged, "below all fixed orders after", "seconds"]
    lines = [agent_row(TITLES.get(agent, agent), agents[agent], splits) for agent in ordered]
    lines += [reference_row(*line, splits) for line in compared(references)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *lines])
    trials, orders = settings["trials"], len(references["orders"])
    price = f", price {settings['price']:g}" if settings["price"] else ""
    words = (
        f"Table `{settings['table']}`, objective `{settings['objective']}`{price}; regret in points of "
        f"{settings['metric']} accuracy, {references['paths']:,} paths, {orders} fixed orders; "
        f"{settings['episodes']:,} episodes, {trials['train']} trials learned from and {trials['test']} held out; "
        f"{len(settings['seeds'])} seeds, mean and Student's 95 % interval. *Below all fixed orders*: episodes from "
        "which on the regret stays below that of the best fixed order on the trials learned from, median of the seeds "
        "that get there, and how many do."
    )
    verdict = sentence(agents, references, settings.get(ELSEWHERE)) if "ppo" in agents else ""
    picture = f"![Regret against episodes](results/growth-paths/agents/{name}.png)"
    return "\n\n".join(part for part in (words, table, verdict, picture) if part)


def agent_row(name: str, agent: Mapping[str, Any], splits: Sequence[str]) -> list[str]:
    """One agent's line."""
    last, below = agent["points"][-1], agent["below"]["train"]
    reached = [each["episodes"] for each in below if each]
    first = f"{median(reached):,.0f} ({len(reached)} of {len(below)})" if reached else f"never (0 of {len(below)})"
    return [name, *(band(last[split]) for split in splits), first, f"{last['seconds']:.0f}"]


def compared(references: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float]]]:
    """What agents are compared with, the best two and the worst of the fixed orders."""
    orders = sorted(references["orders"].items(), key=lambda order: float(order[1]["train"]))
    shown = orders if len(orders) < 4 else [*orders[:2], orders[-1]]
    return [
        ("*who knows the trial*", references["clairvoyant"]),
        ("*best path of the trials learned from*", references["chosen on train"]),
        *((f"*{name}*", regret) for name, regret in shown),
        ("*average over all paths*", references["random"]),
    ]


def reference_row(name: str, regret: Mapping[str, float], splits: Sequence[str]) -> list[str]:
    """One line that is known and not learned."""
    return [name, *(points(regret[split]) for split in splits), "", ""]


def sentence(agents: Mapping[str, Any], references: Mapping[str, Any], elsewhere: str | None = None) -> str:
    """Whether PPO is below every fixed order, and what is left of that elsewhere, in words that follow from numbers."""
    below = agents["ppo"]["below"]["train"]
    seconds = [each["seconds"] for each in below if each]
    order = min(references["orders"].values(), key=lambda regret: float(regret["train"]))
    best = f"the best fixed order on the trials learned from ({points(order['train'])})"
    reached = "Every seed" if len(seconds) == len(below) else f"{len(seconds)} of {len(below)} seeds"
    if seconds:
        said = f"{reached} of PPO ends below {best}; there for good after {listed(seconds)} s."
    else:
        said = f"No seed of PPO ends below {best}."
    found, held_out = agents["ppo"]["points"][-1]["test"], agents["ppo"]["final"]["test"]
    less = sum(regret < order["test"] - EQUAL for regret in held_out)
    hindsight = {split: points(min(each[split] for each in references["orders"].values())) for split in order}
    said = (
        f"{said} On held-out trials, PPO regrets {band(found)}, and that order {points(order['test'])}; {less} of "
        f"{len(held_out)} seeds regret less than it. The best fixed order in hindsight regrets {hindsight['test']} "
        "there."
    )
    if not elsewhere:
        return said
    chosen, random = (points(references[name][ELSEWHERE]) for name in ("chosen on train", "random"))
    return (
        f"{said} On `{elsewhere}`, where it never learned, PPO regrets "
        f"{band(agents['ppo']['points'][-1][ELSEWHERE])}, the best path of the trials learned from {chosen}, that "
        f"order {points(order[ELSEWHERE])}, the best one in hindsight {hindsight[ELSEWHERE]}, and the average path "
        f"{random}."
    )


def listed(seconds: Sequence[float]) -> str:
    """The range of some seconds."""
    low, high = f"{min(seconds):.0f}", f"{max(seconds):.0f}"
    return low if low == high else f"{low} to {high}"


def band(figure: Mapping[str, Any]) -> str:
    """Mean and interval in points."""
    if figure["low"] is None:
        return points(figure["mean"])
    return f"{points(figure['mean'])} [{points(figure['low'])}, {points(figure['high'])}]"


def points(share: float) -> str:
    """A share in points, without a minus before zero."""
    return f"{100 * share + 0.0:.2f}".replace("-0.00", "0.00")


BLOCKS: dict[str, Callable[[], str]] = {"path-agents": path_agents, "path-agents-verdict": verdict}
