from __future__ import annotations

from dataclasses import dataclass

import pytest

from agents.arguments import fail, keyword_values, option, parse


@dataclass
class Args:
    runs: list[str] = option([], "folders", positional=True)
    n: int = option(5, "how many", "-n")
    rate: float = option(0.5, "how fast")
    log_folder: str = option("runs", "where")
    track: bool = option(False, "whether")
    words: list[str] = option(["a"], "which")


def test_defaults() -> None:
    assert parse(Args, "does", []) == Args([], 5, 0.5, "runs", False, ["a"])


def test_every_kind_of_flag() -> None:
    words = ["x", "y", "-n", "7", "--rate", "1e-3", "--log-folder", "z", "--track", "--words", "b", "c"]
    assert parse(Args, "does", words) == Args(["x", "y"], 7, 0.001, "z", True, ["b", "c"])
    assert parse(Args, "does", ["--words"]).words == []


def test_lists_are_not_shared() -> None:
    parse(Args, "does", []).runs.append("x")
    assert parse(Args, "does", []).runs == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-n", "many"], "invalid int value: 'many'"),
        (["--rat", "1"], "unrecognized arguments: --rat"),
        (["--rate"], "expected one argument"),
    ],
)
def test_wrong_flags_end_with_one_line_and_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        parse(Args, "does", words)
    shown = capsys.readouterr()
    assert left.value.code == 2
    assert shown.out == ""
    assert message in shown.err
    assert shown.err.count("\n") == 1


def test_help_lists_flags_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse(Args, "does things", ["--help"])
    text = capsys.readouterr().out
    assert left.value.code == 0
    assert "does things" in text
    assert "how many (default: 5)" in text


def test_fail_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        fail(ValueError("two\nlines"))
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: two lines\n"


def test_keyword_values_are_json_or_text() -> None:
    words = ["tasks:3", "hidden:[4,4]", "streams:split", "price:0.5", "accuracy_matrix:false", "x:a:b"]
    assert keyword_values(words) == {
        "tasks": 3,
        "hidden": [4, 4],
        "streams": "split",
        "price": 0.5,
        "accuracy_matrix": False,
        "x": "a:b",
    }


@pytest.mark.parametrize("words", [["tasks"], [":3"], ["tasks=3"], ["tasks:3", "tasks:4"]])
def test_bad_keyword_values_are_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"name:value|given twice"):
        keyword_values(words)
