"""Parts by name."""

from __future__ import annotations

import pytest

from growenv.registry import Registry, UnknownNameError, unknown_name


def registry() -> Registry[list[int]]:
    parts: Registry[list[int]] = Registry("part")
    parts.register("empty", list)
    return parts


def test_factories_are_called_with_what_make_is_given() -> None:
    parts = registry()

    @parts.register("filled")
    def filled(count: int, value: int = 1) -> list[int]:
        return [value] * count

    assert filled(2) == [1, 1], "the decorator hands the factory back"
    assert parts.names() == ("empty", "filled")
    assert parts.make("filled", 2, value=7) == [7, 7]
    assert parts.make("empty") is not parts.make("empty")


def test_what_is_no_string_is_a_part_already() -> None:
    mine = [1, 2]
    assert registry().make(mine) is mine


def test_a_name_is_taken_once() -> None:
    parts = registry()
    parts.register("empty", list)  # again the same: no harm when a module is imported twice
    with pytest.raises(ValueError, match="the part name 'empty' is taken; choose another name"):
        parts.register("empty", lambda: [1])


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_name_is_a_non_empty_string(name: object) -> None:
    with pytest.raises(ValueError, match="a part needs a non-empty name, got"):
        registry().register(name, list)  # type: ignore[arg-type]


def test_an_unknown_name_suggests_the_nearest_and_lists_all() -> None:
    with pytest.raises(UnknownNameError) as caught:
        registry().make("emty")
    assert str(caught.value) == "unknown part 'emty'; did you mean 'empty'? known: empty"
    assert isinstance(caught.value, ValueError)


def test_messages_without_a_near_name_or_without_any() -> None:
    assert str(unknown_name("part", "zzz", ["b", "a"])) == "unknown part 'zzz'; known: a, b"
    assert str(unknown_name("part", 3, [])) == "unknown part 3; known: none"
