"""What a folder of data says about itself, for results to repeat."""

from __future__ import annotations

from growenv.streams import cifar
from growenv.streams.files import data_root

FILE = "note.txt"
LONGEST = 200
"""Most characters of a note."""
_MOST_BYTES = 1024  # of the file: four a character, and room for line ends
_DAMAGED = "\ufffd"  # what stands for bytes that are no UTF-8

FOLDERS = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw", "cifar-10": cifar.FOLDER}
"""Where below the data root the files of each data set lie."""


def data_note(name: str) -> str:
    """What results with a data set must say about its files, or an empty text where there is nothing to say.

    Whoever puts altered files into a data folder (compressed again, shortened) says so in one line of plain text in the
    file note.txt beside them. A data set that is made from others has the note of the one that its name begins with:
    ``mnist-14x14`` and ``mnist-noisy`` that of ``mnist``.

    Args:
        name: name of a data set; one that is not read from a data folder has no note.

    Raises:
        ValueError: the note is not one line of printable UTF-8 text of at most 200 characters.
    """
    folder = next((FOLDERS[known] for known in FOLDERS if name == known or name.startswith(f"{known}-")), None)
    if folder is None:
        return ""
    path = data_root() / folder / FILE
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    note = content.decode("utf-8-sig", errors="replace").strip()
    if len(content) > _MOST_BYTES or len(note) > LONGEST or not note.isprintable() or _DAMAGED in note:
        raise ValueError(
            f"{path} starts with {note[:40]!r}, expected one line of at most {LONGEST} printable characters in UTF-8; "
            "shorten it, or remove it"
        )
    return note
