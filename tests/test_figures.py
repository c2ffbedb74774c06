"""The figures on the pages are those of the results files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_pages_show_their_results_files() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "figures.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_a_figure_that_was_changed_by_hand_is_noticed(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import figures
    finally:
        sys.path.pop(0)
    page = (ROOT / "README.md").read_text()
    assert "10 training seeds | 0." in page
    assert figures.filled(page.replace("10 training seeds | 0.", "10 training seeds | 9.")) == page
