"""A growth path on its lattice, as a picture or as text.

Columns are steps of hidden layer 0, rows, from the bottom, those of the other layers together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from growenv.paths.lattice import Lattice

_PITCH, _SIDE = 24, 16
"""Pixels from one place to the next, and of a place's square."""
_PAPER, _EMPTY, _LINE = (255, 255, 255), (225, 225, 225), (90, 90, 90)
_WORST, _BEST, _HERE = (40, 60, 130), (250, 210, 60), (200, 30, 30)


def text(lattice: Lattice, visited: NDArray[np.int64], accuracy: NDArray[np.float64]) -> str:
    """A path so far in letters: ``o`` was visited, ``@`` is where it stands.

    Args:
        lattice: the orders of growth.
        visited: nodes on the path, the root first, (k + 1,).
        accuracy: validation accuracy at each of them, (k + 1,).
    """
    column, row, width, height = _places(lattice, visited)
    letters = np.full((height, width), ".")
    letters[row, column] = "o"
    letters[row[-1], column[-1]] = "@"
    actions = " ".join(str(action) for action in lattice.last[visited[1:]])
    head = f"decision {len(visited) - 1} of {lattice.horizon}, validation accuracy {accuracy[-1]:.3f}"
    return "\n".join([head, f"actions {actions or 'none'}", *(" ".join(line) for line in letters[::-1])])


def draw(lattice: Lattice, visited: NDArray[np.int64], accuracy: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A path so far as a picture, uint8 (height, width, 3); arguments as in `text`.

    Visited places are coloured by accuracy, from blue (0) to yellow (1); a red frame marks where the path stands.
    """
    column, row, width, height = _places(lattice, visited)
    picture = np.full((height * _PITCH, width * _PITCH, 3), _PAPER, dtype=np.uint8)
    for up, along in np.ndindex(height, width):
        picture[_square(up, along, height)] = _EMPTY
    centre_y, centre_x = (height - 1 - row) * _PITCH + _PITCH // 2, column * _PITCH + _PITCH // 2
    for begin in range(len(visited) - 1):
        ends = slice(begin, begin + 2)
        y, x = centre_y[ends], centre_x[ends]
        picture[y.min() - 1 : y.max() + 2, x.min() - 1 : x.max() + 2] = _LINE
    for number in range(len(visited)):
        colour = np.array(_WORST) + accuracy[number] * (np.array(_BEST) - np.array(_WORST))
        picture[_square(row[number], column[number], height)] = np.rint(colour)
    here = picture[_square(row[-1], column[-1], height)]
    for edge in (here[:2], here[-2:], here[:, :2], here[:, -2:]):
        edge[:] = _HERE
    return picture


def _places(lattice: Lattice, visited: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], int, int]:
    """Column and row of every visited node, and how many columns and rows there are."""
    counts = lattice.counts[visited].astype(np.int64)
    return counts[:, 1], counts[:, 2:].sum(axis=1), lattice.limits[1] + 1, sum(lattice.limits[2:]) + 1


def _square(row: int, column: int, height: int) -> tuple[slice, slice]:
    """Pixels of a place."""
    margin = (_PITCH - _SIDE) // 2
    top, left = (height - 1 - row) * _PITCH + margin, column * _PITCH + margin
    return slice(top, top + _SIDE), slice(left, left + _SIDE)
