"""The report of a comparison: one self-contained HTML file that can be opened, printed and sent as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agents.amortised import HEAD as COMPUTE_HEAD
from agents.amortised import amortised
from agents.comparison import BEST_FIXED, Comparison
from agents.price_sweep import PriceSweep
from agents.report import pictures as files
from agents.report.breakdown import Bin, best_gate
from agents.report.html_parts import code, document, listing, paragraph, picture, table
from agents.report.showcase import Showcase
from agents.report.tables import HEAD, Row, cells_of, notes_of
from agents.report.verdicts import gap_words, reactions, signed, verdicts

Parts = list[str]

LIMITS = (
    "The best fixed schedule is the best that a search within its budget found, and so are the settings of tuned "
    "gates; how much was tried stands above.",
    "The oracle is the best growth that was found for each context, not the best there is: the true gap may be larger.",
    "The best gate is chosen by its mean in these very contexts, which favours the gates.",
    "Many intervals are shown and none is corrected for their number; bins of contexts hold few contexts each.",
    "Intervals speak of contexts drawn from the same distribution, not of other data, networks or hardware.",
    "Networks and tasks are small; figures of the hardware come from a model of it, not from a measured chip.",
    "Compute is counted in environment steps; wall time depends on the machine and never counts.",
)


def page(
    comparison: Comparison,
    lines: Sequence[Row],
    breakdowns: Mapping[str, Sequence[Bin]],
    pictures: Mapping[str, bytes],
    detail: Showcase | None = None,
    sweep: PriceSweep | None = None,
    notes: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> str:
    """The whole page.

    Args:
        comparison: what was played.
        lines: from `agents.report.tables.rows`.
        breakdowns: from `agents.report.breakdown.breakdown`, by what the contexts were sorted by.
        pictures: PNG files by name, from `agents.report.pictures.pictures_of`.
        detail: what replaying has shown; None if nothing was replayed.
        sweep: policies at several prices; None if there are none.
        notes: ``command``, ``versions`` and ``origins`` are shown, as far as they are there.
        seed: seed of the bootstrap.
    """
    notes = notes or {}
    learned = ", ".join(player.name for player in comparison.of_kind("learned")) or "baselines alone"
    title = f"Growth policies compared: {learned} on the {comparison.split} split"
    lead = [_heading("Verdict"), listing(verdicts(comparison, lines, seed), "verdict")]
    sections = [
        ("compared", "What was compared", _compared(comparison)),
        ("table", "Table", _table(comparison, lines, pictures)),
        ("profiles", "Performance profiles", _profiles(pictures)),
        ("oracle", "Gap to the oracle", _oracle(comparison, lines)),
        ("controls", "Controls and ablations", _controls(comparison, lines)),
        ("breakdowns", "By price and by budget", _breakdowns(breakdowns, pictures)),
        ("pareto", "Accuracy against cost", _pareto(sweep, pictures)),
        ("matrices", "Accuracy matrices", _matrices(detail, pictures)),
        ("timeline", "When and where everybody grows", _timeline(pictures)),
        ("context", "One context in detail", _context(detail, pictures)),
        ("seeds", "Training seeds", _seeds(comparison, lines)),
        ("compute", "Compute", _compute(comparison)),
        ("tuning", "What was tuned", _tuning(comparison)),
        ("configuration", "Configuration", _configuration(comparison, notes)),
        ("again", "How to run it again", _again(notes)),
        ("limits", "Known limits", [listing(LIMITS)]),
    ]
    return document(title, lead, sections)


def _heading(text: str) -> str:
    return f"<h2>{text}</h2>"


def _compared(comparison: Comparison) -> Parts:
    """One paragraph in words."""
    config = comparison.config
    count = len(comparison.players)
    seeds = [f"{p.name} ({len(p.runs)})" for p in comparison.of_kind("learned", "ablation")]
    trained = f"Learned policies and their training seeds: {', '.join(seeds)}. " if seeds else ""
    low, high = config.budget
    cheap, dear = config.price
    tasks = f"{config.tasks} tasks" + (" or more" if comparison.split == "ood" else "")
    tuned = "Policies and baselines were tuned on train and val contexts only, which this split does not share."
    if comparison.split in ("train", "val"):
        tuned = "Policies and baselines were tuned on train and val contexts, so some of these may have been seen."
    words = (
        f"{count} players grew networks on the same {comparison.contexts} contexts of the {comparison.split} split, "
        f"each with {comparison.inner_seeds} inner seed{'s' if comparison.inner_seeds > 1 else ''} (initial weights "
        "and order of minibatches), so that episodes differ by the players' actions alone. A context is a stream of "
        f"{tasks}, a budget ({low:g} to {high:g} of the capacity) and a price ({cheap:g} to {dear:g} for the whole "
        f"capacity). {trained}The return is validation accuracy at the end, mean over the tasks, minus the price times "
        f"the share of the capacity newly used. {tuned}"
    )
    return [paragraph(words)]


def _table(comparison: Comparison, lines: Sequence[Row], pictures: Mapping[str, bytes]) -> Parts:
    main = [player.name for player in comparison.of_kind("learned")]
    first = table(
        "All players, highest mean return first: mean [95 % interval].", HEAD, list(map(cells_of, lines)), main
    )
    head = (
        "policy",
        "interquartile mean",
        "in these contexts",
        "minus best gate",
        "better than best fixed",
        "forgetting",
    )
    second = table(
        "The same players: interquartile mean of the return; its mean, with an interval for these contexts; difference "
        "to the best gate; probability of a higher return than the best fixed schedule; forgetting.",
        head,
        list(map(_more_cells, lines)),
        main,
    )
    shown = picture(
        pictures[files.DIFFERENCES],
        "Each player's mean return minus the best fixed schedule's with its interval; the figures are in the table.",
        "Differences in return to the best fixed schedule. The vertical line is the schedule; small dots are single "
        "training seeds.",
    )
    return [first, shown, second, listing(notes_of(comparison))]


def _more_cells(line: Row) -> tuple[str, ...]:
    return (
        line.name,
        str(line.middle),
        str(line.return_here),
        "" if line.over_gate is None else signed(line.over_gate),
        "" if line.improvement is None else str(line.improvement),
        str(line.forgetting),
    )


def _profiles(pictures: Mapping[str, bytes]) -> Parts:
    return [
        picture(
            pictures[files.PROFILES],
            "Curves of the share of contexts in which each player beats the best fixed schedule by more than a "
            "threshold.",
            "Share of training seeds and contexts in which a player's return exceeds the best fixed schedule's by "
            "more than a threshold, with a 95 % band for the learned policy. Higher is better; at 0 it is how often "
            "a player is better at all.",
        )
    ]


def _oracle(comparison: Comparison, lines: Sequence[Row]) -> Parts:
    if not comparison.of_kind("oracle"):
        return [paragraph("The oracle did not play, so how much could be gained at most is not known here.")]
    scored = [line for line in lines if line.gap is not None]
    rows = [
        (
            line.name,
            signed(line.gap.gap),
            str(line.gap),
            f"{line.gap.without_gap} of {line.gap.contexts}",
        )
        for line in scored
        if line.gap is not None
    ]
    head = ("policy", "oracle minus best fixed", "share of the gap closed", "contexts without a gap")
    words = (
        "The oracle chooses the best growth that was found for each context on one inner seed and is scored on "
        "another. The share closed is a ratio of sums over contexts: 0 is the best fixed schedule, 1 the oracle; it "
        "is not clipped."
    )
    return [
        paragraph(words),
        table("Gap between the best fixed schedule and the oracle: mean [95 % interval].", head, rows),
        listing([f"{line.name}: {gap_words(line)}." for line in scored]),
    ]


def _controls(comparison: Comparison, lines: Sequence[Row]) -> Parts:
    known = [line for line in lines if line.under_leader is not None and line.name != "random"]
    if not known:
        return [
            paragraph(
                "No controls and no ablations of a learned policy played, so whether it reacts is not known here."
            )
        ]
    rows = [
        (line.name, line.note, str(line.return_), signed(line.under_leader))
        for line in known
        if line.under_leader is not None
    ]
    leader = comparison.of_kind("learned")[0].name
    head = ("player", "what it is", "return", f"{leader} minus this")
    words = (
        "Controls keep something of the policy's growth but never look at the network: what they reach needs no "
        "policy. Ablations were trained without some observations."
    )
    said = [f"{sentence}." for sentence in reactions(comparison, lines)]
    return [
        paragraph(words),
        table("Controls and ablations: mean [95 % interval].", head, rows),
        *([listing(said)] if said else []),
    ]


def _breakdowns(breakdowns: Mapping[str, Sequence[Bin]], pictures: Mapping[str, bytes]) -> Parts:
    shown = picture(
        pictures[files.BREAKDOWNS],
        "Mean returns and differences to the best fixed schedule by price and by budget; the figures are in the "
        "tables.",
        "Mean returns, and differences to the best fixed schedule with 95 % intervals, in bins of contexts that are "
        "alike in price or in budget.",
    )
    tables = []
    for by, bins in breakdowns.items():
        others = list(bins[0].differences)
        rows = [
            [f"{each.low:.2f} to {each.high:.2f}", str(each.contexts), f"{each.returns[BEST_FIXED]:.3f}"]
            + [f"{each.returns[name]:.3f}, {signed(each.differences[name], 3)}" for name in others]
            for each in bins
        ]
        head = (by, "contexts", BEST_FIXED, *(f"{name}, minus best fixed" for name in others))
        tables.append(table(f"Mean return by {by}.", head, rows))
    return [shown, *tables]


def _pareto(sweep: PriceSweep | None, pictures: Mapping[str, bytes]) -> Parts:
    shown = picture(
        pictures[files.TRADE_OFF],
        "Scatter of the players' mean accuracy against the share of the capacity that they use.",
        "Up and to the left is better. The dashed line is the front of schedules and gates.",
    )
    if sweep is None:
        return [shown, paragraph("Single prices were not played; one price range can be won by growing little.")]
    rows = [
        (f"{family.name}: {label}", f"{cost:.3f}", f"{accuracy:.3f}")
        for family in sweep.families
        for label, (cost, accuracy) in zip(family.labels, family.points(), strict=True)
    ]
    areas = [f"{family.name}: hypervolume {family.hypervolume:.4f}" for family in sweep.families]
    said = [
        f"{name}, {label}: {saving}."
        for name, savings in sweep.savings.items()
        for label, saving in zip(_labels(sweep, name), savings, strict=True)
    ]
    caption = f"Families between which the price chooses, on {sweep.contexts} contexts."
    return [shown, listing(said), listing(areas), table(caption, ("policy", "cost", "accuracy"), rows)]


def _labels(sweep: PriceSweep, name: str) -> tuple[str, ...]:
    return next(family.labels for family in sweep.families if family.name == name)


def _matrices(detail: Showcase | None, pictures: Mapping[str, bytes]) -> Parts:
    if detail is None:
        return [paragraph("No episodes were replayed, so there are no accuracy matrices.")]
    names = " and ".join(detail.matrices)
    caption = (
        f"Accuracy on inner test data on each task after each task, mean over {detail.replayed} replayed episodes. "
        "Tasks further ahead than the next one are not measured. Replayed returns differ from the recorded ones by "
        f"at most {detail.deviation:.3g}."
    )
    return [
        picture(pictures[files.MATRICES], f"Accuracy matrices of {names}, with the numbers in their cells.", caption)
    ]


def _timeline(pictures: Mapping[str, bytes]) -> Parts:
    alt = (
        "A strip for each player: neurons added to each layer in each decision, mean over episodes, beside its return."
    )
    return [picture(pictures[files.TIMELINE], alt, "Mean growth of every player by decision and layer.")]


def _context(detail: Showcase | None, pictures: Mapping[str, bytes]) -> Parts:
    if detail is None:
        return [paragraph("No episodes were replayed, so no context is shown in detail.")]
    context = detail.context
    words = (
        f"{detail.choice} It is context {context.index} of the {context.split} split with price {context.price:.3g} "
        f"and budget {context.budget:.3g}."
    )
    grown = [
        [name, f"{course.return_:.3f}", " ".join(str(width) for width in course.widths[-1]), _events(course.growth)]
        for name, course in detail.courses.items()
    ]
    frames = [
        picture(
            pictures[files.frame_name(place)],
            f"The final network of {name}: units by layer and task, accuracies, growth, and the tiles of the fabric.",
            f"The final network of {name}.",
        )
        for place, name in enumerate(detail.courses)
    ]
    names = " and ".join(detail.courses)
    caption = (
        "The same context, decision by decision; bands are tasks, marks are growth. The share used also rises where a "
        "task's output units are added."
    )
    return [
        paragraph(words),
        picture(
            pictures[files.COURSES], f"Widths, accuracy and share used by {names}; growth is in the table.", caption
        ),
        table("What was grown.", ("policy", "return", "final widths", "growth"), grown),
        *frames,
    ]


def _events(growth: Sequence[tuple[int, int, int, int]]) -> str:
    words = [f"decision {when} (task {task}): layer {layer} +{amount}" for when, task, layer, amount in growth]
    return "; ".join(words) or "none"


def _seeds(comparison: Comparison, lines: Sequence[Row]) -> Parts:
    several = [line for line in lines if line.kind in ("learned", "ablation")]
    if not several:
        return [paragraph("No learned policy played.")]
    rows = [(line.name, str(len(line.seeds)), ", ".join(f"{mean:.4f}" for mean in line.seeds)) for line in several]
    head = ("policy", "training seeds", "mean return of each")
    return [table("Every training seed; none is left out.", head, rows)]


def _compute(comparison: Comparison) -> Parts:
    if not comparison.of_kind("learned"):
        return [paragraph("No learned policy played, so there is nothing to amortise.")]
    words = (
        "Everything is counted in environment steps: a decision of one network with its training. The columns say "
        "after how many episodes, or after how many deployments for each of which the other one is tuned anew, the "
        "learned policy has cost less in all."
    )
    lines = [line.cells() for line in amortised(comparison.players)]
    main = [comparison.of_kind("learned")[0].name]
    return [paragraph(words), table("Steps before and during use.", COMPUTE_HEAD, lines, main)]


def _tuning(comparison: Comparison) -> Parts:
    gate = best_gate(comparison)
    if not comparison.searches:
        return [paragraph("Nothing was tuned for this comparison.")]
    rows = [
        (
            name,
            found.best.name,
            str(len(found.trials)),
            f"{found.episodes:,}",
            f"{found.steps:,}",
            " ".join(found.splits),
        )
        for name, found in comparison.searches.items()
    ]
    head = ("player", "the best found", "candidates", "episodes", "steps", "contexts of")
    said = [] if gate is None else [paragraph(f"The best gate in these contexts is {gate.name}.")]
    return [table("Searches, and what they cost.", head, rows), *said]


def _configuration(comparison: Comparison, notes: Mapping[str, Any]) -> Parts:
    options = [(name, json.dumps(value)) for name, value in comparison.config.to_json().items()]
    parts = [table("Options of the environment.", ("option", "value"), options)]
    versions = dict(notes.get("versions", {}))
    if versions:
        rows = [(name, str(version)) for name, version in versions.items()]
        parts.append(table("Versions.", ("package", "version"), rows))
    if notes.get("origins"):
        parts += ["<h3>Where the learned policies come from</h3>", code(json.dumps(notes["origins"], indent=1))]
    return parts


def _again(notes: Mapping[str, Any]) -> Parts:
    words = (
        "The folder of this report holds results.json with all figures and episodes.csv.gz with the actions of every "
        "episode. Configuration, context and actions are enough to play an episode again; the second command does so "
        "for a sample and compares all figures."
    )
    commands = [str(notes["command"])] if notes.get("command") else []
    return [paragraph(words), code("\n".join([*commands, "python evaluate.py --verify FOLDER"]))]
