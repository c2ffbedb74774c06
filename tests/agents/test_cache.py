from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents.cache import Request, SearchCache, cached, key, request
from evaluate import SHIPPED_SEARCHES
from growenv.protection import Finetune
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts


def asked(**settings: Any) -> Request:
    made = request("test", CONFIG, make_contexts(2), FakeVectorEnv, **settings)
    assert made is not None
    return made


def counted(result: Any) -> tuple[Callable[[], Any], list[int]]:
    calls: list[int] = []

    def compute() -> Any:
        calls.append(1)
        return result

    return compute, calls


def look_up(cache: SearchCache | None, compute: Callable[[], int], wanted: Request | None) -> int:
    return cached(cache, wanted, compute, lambda number: {"number": number}, lambda data: int(data["number"]))


def test_a_result_is_worked_out_once(tmp_path: Path) -> None:
    compute, calls = counted(5)
    for _ in range(3):
        assert look_up(SearchCache(tmp_path / "new" / "folder"), compute, asked()) == 5
    assert len(calls) == 1


def test_without_a_cache_it_is_worked_out_each_time(tmp_path: Path) -> None:
    compute, calls = counted(5)
    assert look_up(None, compute, asked()) == look_up(None, compute, asked()) == 5
    assert look_up(SearchCache(tmp_path), compute, None) == 5
    assert len(calls) == 3
    assert list(tmp_path.iterdir()) == []


def test_requests_differ_in_all_that_matters_and_in_nothing_else() -> None:
    contexts = make_contexts(2)

    def of(
        config: Any = CONFIG, played: Any = contexts, kind: str = "test", env: Any = FakeVectorEnv, **more: Any
    ) -> str:
        made = request(kind, config, played, env, **more)
        assert made is not None
        return key(made)

    assert of() == of(replace(CONFIG, split="ood")), "the contexts say what is played"
    assert of(a=1, b=(2, 3)) == of(b=[2, 3], a=1)
    different = [
        of(),
        of(replace(CONFIG, minibatches=7)),
        of(played=contexts[:1]),
        of(played=contexts[::-1]),
        of(played=[replace(contexts[0], inner_seed=1), contexts[1]]),
        of(kind="other"),
        of(a=1),
        of(a=2),
        of(env=asked),
    ]
    assert len(set(different)) == len(different)


def test_options_that_came_later_do_not_hide_what_was_found_before_them() -> None:
    shipped = [json.loads(path.read_text()) for path in SHIPPED_SEARCHES.glob("*.json")]
    assert shipped
    now = asked()
    for found in shipped:
        assert set(found["request"]["config"]) == set(now["config"])
    elsewhere = request("test", replace(CONFIG, scenario="class-incremental"), make_contexts(2), FakeVectorEnv)
    assert elsewhere is not None
    assert elsewhere["config"]["scenario"] == "class-incremental"


def test_what_cannot_be_written_down_is_not_kept() -> None:
    with_object = replace(CONFIG, protection=Finetune())
    assert request("test", with_object, make_contexts(1), FakeVectorEnv) is None
    assert request("test", CONFIG, make_contexts(1), partial(FakeVectorEnv)) is None
    assert request("test", CONFIG, make_contexts(1), lambda config, rows: FakeVectorEnv(config, rows)) is None


def test_shipped_results_are_read_and_never_written(tmp_path: Path) -> None:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    compute, calls = counted(5)
    look_up(SearchCache(shipped), compute, asked())
    before = [(path.name, path.read_bytes()) for path in shipped.iterdir()]
    both = SearchCache(own, shipped)
    assert look_up(both, compute, asked()) == 5
    assert len(calls) == 1
    look_up(both, compute, asked(more=1))
    assert len(list(own.iterdir())) == 1
    assert [(path.name, path.read_bytes()) for path in shipped.iterdir()] == before


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\x80\x04K\x05.", b"[1]", b"{}", b'{"request": {}, "result": {"number": 6}}'],
    ids=["empty", "half", "pickle", "list", "object", "another request"],
)
def test_damaged_and_foreign_files_are_passed_over_with_a_warning(tmp_path: Path, content: bytes) -> None:
    compute, calls = counted(5)
    cache = SearchCache(tmp_path)
    path = tmp_path / f"{key(asked())}.json"
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="worked out again"):
        assert look_up(cache, compute, asked()) == 5
    assert len(calls) == 1
    assert look_up(cache, compute, asked()) == 5, "the good result has taken its place"
    assert len(calls) == 1


@pytest.mark.parametrize("result", [None, {}, {"number": "six"}, [6], 6])
def test_results_of_another_kind_are_worked_out_again(tmp_path: Path, result: Any) -> None:
    compute, _ = counted(5)
    SearchCache(tmp_path).write(asked(), result)
    with pytest.warns(UserWarning, match="worked out again"):
        assert look_up(SearchCache(tmp_path), compute, asked()) == 5


def test_a_broken_file_of_ones_own_does_not_hide_the_shipped_one(tmp_path: Path) -> None:
    compute, calls = counted(6)
    cache = SearchCache(tmp_path / "own", tmp_path / "shipped")
    SearchCache(tmp_path / "shipped").write(asked(), {"number": 5})
    SearchCache(tmp_path / "own").write(asked(), {"number": 5})
    (tmp_path / "own" / f"{key(asked())}.json").write_text("broken")
    with pytest.warns(UserWarning, match="damaged"):
        assert look_up(cache, compute, asked()) == 5
    assert not calls


def test_files_hold_the_request_in_words(tmp_path: Path) -> None:
    SearchCache(tmp_path).write(asked(rows=3), {"number": 5})
    (path,) = tmp_path.iterdir()
    data = json.loads(path.read_text())
    assert path.stem == key(data["request"])
    assert data["request"]["config"]["decisions"] == CONFIG.decisions
    assert "split" not in data["request"]["config"]
    assert data["request"]["settings"] == {"rows": 3}
    assert data["request"]["contexts"]["count"] == 2
    assert data["request"]["env"] == "tests.agents.fake_env.FakeVectorEnv"
