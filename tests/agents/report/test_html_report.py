from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from agents.comparison import BEST_FIXED, Comparison
from agents.report import pictures as files
from agents.report.charts import draw_matrices, png
from agents.report.html_parts import code, listing, paragraph, picture, section, table
from agents.report.html_report import page
from agents.report.showcase import Course, Showcase
from agents.report.tables import breakdowns_of, rows
from growenv.streams.tasks import Context
from tests.agents.report.played import compared, made_sweep, player

VOID = {"meta", "img", "br", "hr", "link", "input"}
SECTIONS = (
    "compared",
    "table",
    "profiles",
    "oracle",
    "controls",
    "breakdowns",
    "pareto",
    "matrices",
    "timeline",
    "context",
    "seeds",
    "compute",
    "tuning",
    "configuration",
    "again",
    "limits",
)
NAMES = (files.TIMELINE, files.DIFFERENCES, files.PROFILES, files.BREAKDOWNS, files.TRADE_OFF)
DETAILS = (files.MATRICES, files.COURSES, files.frame_name(0), files.frame_name(1))
HOSTILE = """<script>alert("1")</script>&'"""


class Checker(HTMLParser):
    """Checks that tags are balanced, and collects what tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.attributes if name == tag]


@cache
def dot() -> bytes:
    """A small real picture."""
    return png(draw_matrices({"ppo": np.eye(2)}))


def full(name: str = "ppo") -> Comparison:
    return compared(
        player(name, "learned", [0.8, 0.7, 0.6, 0.9], [0.7, 0.8, 0.7, 0.8], steps=4000, note=f"note on {name}"),
        player(BEST_FIXED, "schedule", [0.5, 0.6, 0.5, 0.6], steps=1000),
        player("plateau-tuned", "gate", [0.6, 0.6, 0.7, 0.5], steps=1000),
        player("shuffled-actions", "control", [0.5, 0.5, 0.5, 0.5], note="permuted"),
        player("oracle", "oracle", [0.9, 0.9, 0.9, 0.95], steps_per_episode=4800.0),
    )


def shown(names: Sequence[str]) -> Showcase:
    context = Context.from_json(full().players[0].records[0].context)
    flat = np.zeros((4, 4, 3), dtype=np.uint8)
    course = Course(
        np.array([0, 0]),
        np.array([0.5, 0.6]),
        np.array([[4, 4], [8, 4]]),
        np.array([0.1, 0.2]),
        ((1, 0, 0, 4),),
        0.5,
        flat,
    )
    return Showcase(
        {name: np.eye(2) for name in names}, 8, 0.0, context, "Chosen by a rule.", dict.fromkeys(names, course)
    )


def made(comparison: Comparison, *, detail: bool = True, **given: object) -> str:
    learned = [each.name for each in comparison.of_kind("learned")]
    names = (*NAMES, *(DETAILS if detail else ()))
    return page(
        comparison,
        rows(comparison),
        breakdowns_of(comparison),
        dict.fromkeys(names, dot()),
        shown([*learned, BEST_FIXED]) if detail else None,
        **given,  # type: ignore[arg-type]
    )


def test_the_page_is_well_formed_and_whole() -> None:
    notes = {"command": "python evaluate.py --contexts 4", "versions": {"torch": "2"}, "origins": {"ppo": [{"a": 1}]}}
    read = Checker(made(full(), sweep=made_sweep(), notes=notes))
    assert tuple(each["id"] for each in read.all("section")) == SECTIONS
    assert [each["href"] for each in read.all("a")] == [f"#{name}" for name in SECTIONS]
    assert read.all("html") == [{"lang": "en"}]
    assert len(read.all("h1")) == len(read.all("main")) == len(read.all("nav")) == 1
    for words in (
        *notes["command"].split(" && "),
        "ppo: better than the best fixed",
        "note on ppo",
        "Chosen by a rule.",
    ):
        assert words in read.text
    assert "decision 1 (task 0): layer 0 +4" in read.text
    assert "python evaluate.py --verify" in read.text


def test_the_verdict_comes_before_everything_else() -> None:
    text = made(full())
    assert text.index("ppo: better than the best fixed schedule") < text.index("<nav") < text.index("<section")


def test_nothing_is_fetched_and_nothing_is_run() -> None:
    text = made(full(), sweep=made_sweep())
    read = Checker(text)
    for _, attributes in read.attributes:
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,")
        assert (attributes.get("href") or "#").startswith("#")
    assert not {tag for tag, _ in read.attributes} & {"script", "link", "iframe", "object", "base", "form"}
    assert not re.search(r"@import|url\(|https?:", text)


def test_every_picture_has_words_and_every_table_a_caption() -> None:
    read = Checker(made(full()))
    pictures = read.all("img")
    assert len(pictures) == len(NAMES) + len(DETAILS) == len(read.all("figcaption"))
    assert all(len(each["alt"] or "") > 20 for each in pictures)
    assert len(read.all("table")) == len(read.all("caption")) > 8
    assert {each.get("scope") for each in read.all("th")} == {"row", "col"}


def test_hostile_names_are_text() -> None:
    comparison = full(HOSTILE)
    notes = {"command": HOSTILE, "versions": {HOSTILE: HOSTILE}, "origins": {HOSTILE: HOSTILE}}
    text = made(replace(comparison, searches={BEST_FIXED: comparison.searches[BEST_FIXED]}), notes=notes)
    assert "<script" not in text
    assert Checker(text).text.count(HOSTILE) > 10


def test_every_piece_escapes_its_texts() -> None:
    pieces = [
        paragraph(HOSTILE),
        listing([HOSTILE], HOSTILE),
        code(HOSTILE),
        table(HOSTILE, [HOSTILE], [[HOSTILE, HOSTILE]], [HOSTILE]),
        picture(b"", HOSTILE, HOSTILE),
        section(HOSTILE, HOSTILE),
    ]
    for piece in pieces:
        assert not Checker(piece).all("script")
        assert "<script" not in piece


def test_sections_without_data_say_so() -> None:
    alone = compared(player(BEST_FIXED, "schedule", [0.5, 0.6]), player("never", "schedule", [0.4, 0.3]))
    read = Checker(made(replace(alone, searches={}), detail=False))
    assert tuple(each["id"] for each in read.all("section")) == SECTIONS
    for words in (
        "No learned policy played, so there is nothing to judge.",
        "The oracle did not play",
        "No controls and no ablations",
        "Single prices were not played",
        "No episodes were replayed, so there are no accuracy matrices.",
        "nothing to amortise",
        "Nothing was tuned",
    ):
        assert words in read.text


@pytest.mark.parametrize(("split", "words"), [("val", "some of these may have been seen"), ("test", "does not share")])
def test_the_page_says_whether_contexts_were_used_for_tuning(split: str, words: str) -> None:
    assert words in Checker(made(replace(full(), split=split))).text


def test_every_training_seed_is_listed() -> None:
    assert "0.7500, 0.7500" in Checker(made(full())).text


def test_intervals_are_not_broken_between_their_ends() -> None:
    cell = Checker(table("", ["a", "b"], [["x", "0.5 [0.4, 0.6]"]])).text
    assert "0.5 [0.4,\N{NO-BREAK SPACE}0.6]" in cell


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no browser of the Chromium family is installed")
def test_a_browser_shows_the_page_with_all_pictures(tmp_path: Path) -> None:
    assert BROWSER is not None
    count = "".join(
        [
            "<script>addEventListener('load', () => { const all = [...document.images];",
            "document.body.dataset.seen = all.filter(i => i.complete && i.naturalWidth > 0).length + ' of ' + "
            "all.length;",
            "document.body.dataset.wide = document.documentElement.scrollWidth <= innerWidth; })</script></body>",
        ]
    )  # only this copy runs anything: a picture's width is known to the browser alone
    path = tmp_path / "report.html"
    path.write_text(made(full()).replace("</body>", count), encoding="utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=500,900",
        f"--user-data-dir={tmp_path / 'user'}",
    ]
    command = [BROWSER, *flags, "--virtual-time-budget=2000", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "<title>Growth policies compared: ppo on the val split</title>" in done.stdout
    number = len(NAMES) + len(DETAILS)
    assert f'data-seen="{number} of {number}"' in done.stdout
    assert 'data-wide="true"' in done.stdout
