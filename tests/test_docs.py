"""The pages tell the truth: their code runs, their links lead somewhere, and what they name exists."""

from __future__ import annotations

import ast
import dataclasses
import gc
import importlib
import os
import random
import re
import shlex
import subprocess
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import evaluate
import train_agent
from agents.arguments import keyword_values, parse
from agents.evaluation import evaluation_contexts, play
from growenv import GrowthVectorEnv
from growenv.protection import PROTECTIONS
from growenv.registry import Registry
from growenv.streams import SCENARIOS, NotVisibleError, datasets

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ARCHITECTURE, PLUGGING_IN = ROOT / "docs" / "architecture.md", ROOT / "docs" / "plugging-in.md"
CONTINUAL = ROOT / "docs" / "continual.md"
FILE = re.compile(r"# ([\w-]+\.py)\n")  # the first line of a block that is a file of its own
TYPES_ONLY = "TYPE_CHECKING"
TINY = ["-n", "64", "--n-envs", "4", "--log-folder", "runs"]

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    line: int
    code: str

    @property
    def file(self) -> str | None:
        """The file's name, if the block is a file."""
        found = FILE.match(self.code) if self.language == "python" else None
        return found and found[1]


def read(page: Path) -> str:
    if not page.exists():
        pytest.skip(f"{page.name} is not written yet")
    return page.read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """Every fenced block, with the line in which its code begins."""
    found, start = [], None
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
        else:
            code = "".join(f"{each}\n" for each in lines[start + 1 : number])
            found.append(Block(lines[start][3:].strip(), start + 1, code))
            start = None
    assert start is None, f"the last block has no end: {lines[start or 0 :][:3]}"
    return found


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to run in; what the pages register, import and draw is gone afterwards."""
    for registry in [each for each in gc.get_objects() if type(each) is Registry]:
        monkeypatch.setattr(registry, "_factories", dict(registry._factories))
    environments, modules = dict(gym.registry), set(sys.modules)
    generators = random.getstate(), np.random.get_state()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with torch.random.fork_rng(devices=[]):
        yield tmp_path
    random.setstate(generators[0])
    np.random.set_state(generators[1])
    gym.registry.clear()
    gym.registry.update(environments)
    datasets._load.cache_clear()
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def execute(block: Block, page: Path, names: dict[str, Any]) -> None:
    """Run a block; what it raises is reported with the line of the page."""
    code = compile("\n" * block.line + block.code, str(page), "exec", dont_inherit=True)
    try:
        exec(code, names)
    except Exception:
        pytest.fail(f"the block in line {block.line} of {page.name}:\n{traceback.format_exc()}", pytrace=False)


@pages
def test_every_python_block_runs(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(f"docs_{page.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks(read(page)):
        if block.file:
            (place / block.file).write_text(block.code)
            importlib.invalidate_caches()
            importlib.import_module(Path(block.file).stem)
        elif block.language == "python":
            execute(block, page, module.__dict__)


# --- plugging-in.md: what it says on command lines -------------------------------------------------------------------


@pytest.fixture
def plugging_in(place: Path) -> list[Block]:
    """The blocks of plugging-in.md, its files being written into the folder."""
    found = blocks(read(PLUGGING_IN))
    for block in found:
        if block.file:
            (place / block.file).write_text(block.code)
    return found


def lines_with(word: str, found: list[Block]) -> list[list[str]]:
    """The commands of the page that name something, as words."""
    lines = [line for block in found if block.language == "sh" for line in block.code.splitlines()]
    return [shlex.split(line) for line in lines if word in line]


def test_an_environment_of_ones_own_is_trained_as_the_page_says(plugging_in: list[Block], place: Path) -> None:
    (words,) = lines_with("corridor:", plugging_in)
    words = [sys.executable, str(ROOT / words[1]), *words[2:], *TINY]
    paths = {"PYTHONPATH": os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(words, cwd=place, env={**os.environ, **paths}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trained for" in done.stdout
    (load,) = [block for block in plugging_in if "load_module" in block.code]
    names: dict[str, Any] = {"observation": np.zeros(1, dtype=np.float32)}
    exec(load.code, names)
    assert names["action"] in (0, 1)


def test_parts_in_a_module_are_known_to_both_scripts_as_the_page_says(
    plugging_in: list[Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_agent, "VAL_EPISODES", 2)
    monkeypatch.setattr(train_agent, "compare", lambda run, episodes: None)
    train, evaluation = lines_with("my_parts:", plugging_in)
    few = ["--env-kwargs", "tasks:2", "decisions:2", "minibatches:1", "validation_samples:16", "test_samples:16"]
    assert train_agent.command([*train[2:], *TINY, *few]) == 0
    args = parse(evaluate.Args, "", [*evaluation[2:], *few])
    (learned,) = evaluate.load(args)
    config = evaluate.environment_config(args.env, keyword_values(args.env_kwargs), [learned])
    assert config.meter == "synapses"
    assert len(play(learned.policies[0].bind, config, evaluation_contexts(config, "val", 2))) == 2


# --- links and names -------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.+?)\s*$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pages
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = read(page)
    for target in re.findall(r"\]\(([^)\s]+)[^)]*\)", prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}, but there is no {there}"
        if anchor:
            headings = anchors(there.read_text(encoding="utf-8"))
            assert anchor in headings, f"{page.name} links to {target}, but the headings are {sorted(headings)}"


def repository_paths(text: str) -> Iterator[tuple[str, str]]:
    """Paths of the repository in backticks, and the name after ``::`` or an empty text."""
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"runs", "evaluations"}
    for name in re.findall(r"`([^`\n]+)`", prose(text)):
        path, _, inside = name.partition("::")
        first, slash, _ = path.partition("/")
        if not re.fullmatch(r"[\w./-]+", path) or re.search(r"-v\d+$", path):
            continue  # options, code, and ids of environments
        if (slash and first in folders) or (not slash and path.endswith((".py", ".md", ".toml"))):
            yield path, inside


@pages
def test_every_path_that_is_named_exists(page: Path) -> None:
    text = read(page)
    own = {block.file for block in blocks(text)}
    for path, inside in repository_paths(text):
        there = ROOT / path
        assert there.exists() or path in own, f"{page.name} names `{path}`, which does not exist"
        if inside:
            defined = re.search(rf"^\s*(def|class) {re.escape(inside)}\b", there.read_text(), flags=re.MULTILINE)
            assert defined, f"{page.name} names `{path}::{inside}`, but {path} defines no {inside}"


def the_map() -> str:
    (rooms,) = [block.code for block in blocks(read(ARCHITECTURE)) if "vector_env.py" in block.code]
    return rooms


def test_every_part_of_the_code_is_on_the_map() -> None:
    rooms = the_map()
    rest = [path for folder in ("agents", "benchmarks", "experiments") for path in ROOT.glob(f"{folder}/*.py")]
    for path in [*ROOT.glob("growenv/**/*.py"), *ROOT.glob("*.py"), *rest]:
        if path.name != "__init__.py":
            where = path.relative_to(ROOT)
            assert re.search(rf"\b{re.escape(path.name)}\b", rooms), f"put {where} on the map in docs/architecture.md"


def test_the_map_shows_nothing_else() -> None:
    folders = ("growenv", "agents", "benchmarks", "experiments")
    known = {path.name for path in [*ROOT.glob("*.py"), *(f for each in folders for f in ROOT.glob(f"{each}/**/*.py"))]}
    assert set(re.findall(r"[\w-]+\.py\b", the_map())) <= known


# --- continual.md: its tables of parts --------------------------------------------------------------------------------


def rows_of(heading: str) -> dict[str, list[str]]:
    """Rows of the table of parts below a heading of continual.md, by the name of the part."""
    section = read(CONTINUAL).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return {row[0].split("`")[1]: row for row in rows}


def test_the_page_has_every_scenario() -> None:
    assert set(rows_of("Scenarios")) == set(SCENARIOS.names())


def test_the_page_has_every_protection_with_its_promises_and_needs() -> None:
    rows = rows_of("Protections")
    assert set(rows) == set(PROTECTIONS.names())
    flags = {"invariant": "invariant", "directed": "directed", "gives units back": "frees"}
    for name, (*_, promises, needs) in rows.items():
        part = PROTECTIONS.make(name)
        said = {word for word in flags if word in promises}
        assert said == {word for word, flag in flags.items() if getattr(part, flag)}, f"promises of {name!r}"
        assert ("trains all heads" in needs) == part.all_heads, f"needs of {name!r}"
        try:
            env = GrowthVectorEnv(1, protection=name, scenario="task-free", tasks=2, minibatches=1)
            env.reset(seed=0)
            env.step(np.zeros(1, dtype=int))
            refused = False
        except NotVisibleError:
            refused = True
        assert ("boundaries" in needs or "identity" in needs) == refused, f"needs of {name!r}"


# --- promises of architecture.md that no other test shows -------------------------------------------------------------


def test_inner_test_data_reaches_the_final_figures_and_nothing_else() -> None:
    digits = datasets.load_dataset("digits")
    inputs = digits.inputs.clone()
    inputs[digits.test] = inputs[digits.test].flip(0)  # other images under the labels
    small = {"tasks": 2, "decisions": 2, "minibatches": 3, "autoreset_mode": "DISABLED"}
    envs = [GrowthVectorEnv(3, dataset=data, **small) for data in (digits, dataclasses.replace(digits, inputs=inputs))]
    for env in envs:
        env.reset(seed=0)
    for action in (1, 3, 2, 0):
        (seen, rewards, _, _, infos), (others, same, _, _, after) = (env.step(np.full(3, action)) for env in envs)
        np.testing.assert_array_equal(rewards, same)
        assert all(np.array_equal(seen[group], others[group]) for group in seen)
        changed = {name for name in infos if not np.array_equal(infos[name], after[name])}
        assert changed <= {"acc", "bwt", "fwt", "forgetting"}
    assert "acc" in changed


# --- the order of the rooms -------------------------------------------------------------------------------------------


def imported(path: Path) -> set[str]:
    """The modules that a file imports, wherever in the file it does, but for what only type checkers read."""
    names: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == TYPES_ONLY]
    skipped = {inner for node in for_types for each in node.body for inner in ast.walk(each)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_imports_point_down_only() -> None:
    orders = [block.code.splitlines() for block in blocks(read(ARCHITECTURE))]
    (order,) = [lines for lines in orders if lines[1:2] == ["vector_env, paths"]]
    rank = {room: -number for number, line in enumerate(order) for room in line.split(", ")}
    files = [*ROOT.glob("growenv/*.py"), *(path.parent for path in ROOT.glob("growenv/*/__init__.py"))]
    assert set(rank) == {path.stem for path in files} - {"__init__"}
    for path in ROOT.glob("growenv/**/*.py"):
        inside = path.relative_to(ROOT / "growenv")
        room, names = Path(inside.parts[0]).stem, imported(path)
        libraries = {name.split(".")[0] for name in names}
        assert "agents" not in libraries, f"growenv/{inside} imports agents"
        assert room == "sb3" or "stable_baselines3" not in libraries, f"growenv/{inside} imports Stable-Baselines3"
        if room == "__init__":
            continue
        assert rank[room] >= rank["config"] or "gymnasium" not in libraries, f"growenv/{inside} imports Gymnasium"
        used = {name.split(".")[1] for name in names if name.startswith("growenv.")} & set(rank)
        above = sorted(other for other in used if rank[other] > rank[room])
        assert not above, f"growenv/{inside} imports {above}, which lie above {room} in docs/architecture.md"
