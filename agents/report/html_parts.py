"""Pieces of a self-contained HTML page: every text is escaped, pictures are inside, nothing is fetched or run."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --faint: #666; --line: #ddd; --mark: #c1440e;
        --box: #f6f4f1; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e6e3; --paper: #1b1b1d; --faint: #a5a29d; --line: #3c3c40; --mark: #ff8f5e; --box: #262629; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 76rem; background: var(--paper); color: var(--ink);
       font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
a { color: inherit; text-decoration-color: var(--mark); }
nav ol { columns: 18rem; column-gap: 2rem; font-size: .9rem; padding-left: 1.5rem; }
.verdict { background: var(--box); border-left: 4px solid var(--mark); padding: .5rem 1rem .5rem 2.2rem; }
.verdict li { margin: .35rem 0; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); padding-bottom: .35rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line);
         overflow-wrap: normal; }
thead th { border-bottom: 2px solid var(--line); }
tbody th { white-space: nowrap; font-weight: 500; }
tr.main th, tr.main td { font-weight: 700; }
figure { margin: 1rem 0; }
img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line); padding: .4rem; }
figcaption { color: var(--faint); font-size: .88rem; margin-top: .35rem; }
pre { background: var(--box); padding: .6rem .8rem; overflow-x: auto; font-size: .82rem; white-space: pre-wrap; }
@media print {
  :root { --ink: #000; --paper: #fff; --faint: #444; --line: #bbb; --box: #f4f4f4; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  figure, tr, .verdict { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .wide { overflow: visible; }
  table { font-size: 7pt; }
}
"""


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def listing(entries: Sequence[str], style: str = "") -> str:
    """A list of plain texts, in the given CSS class."""
    items = "".join(f"<li>{escape(entry)}</li>" for entry in entries)
    return f'<ul class="{escape(style)}">{items}</ul>' if style else f"<ul>{items}</ul>"


def code(text: str) -> str:
    """Plain text as it is, in a box."""
    return f"<pre>{escape(text)}</pre>"


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], main: Sequence[str] = ()) -> str:
    """A table of plain texts; the first cell of each row names it.

    Args:
        caption: what the table shows.
        head: heads of the columns.
        rows: the cells of each row.
        main: names of rows that stand out.
    """
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = []
    for row in rows:
        first = f'<th scope="row">{escape(row[0])}</th>'
        rest = "".join(f"<td>{escape(_whole_intervals(cell))}</td>" for cell in row[1:])
        style = ' class="main"' if row[0] in main else ""
        lines.append(f"<tr{style}>{first}{rest}</tr>")
    body = "\n".join(lines)
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _whole_intervals(cell: str) -> str:
    """The cell with hard spaces inside brackets, so that no interval is broken between its ends."""
    return re.sub(r"\[[^\[\]]*\]", lambda found: found.group().replace(" ", "\N{NO-BREAK SPACE}"), cell)


def picture(data: bytes, alt: str, caption: str) -> str:
    """A PNG picture inside the page, with what it shows for those who cannot see it, and a caption."""
    source = f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
    return f'<figure><img src="{source}" alt="{escape(alt)}"><figcaption>{escape(caption)}</figcaption></figure>'


def section(name: str, title: str, *parts: str) -> str:
    """A section with a heading, to be linked as ``#name``."""
    body = "\n".join(parts)
    return f'<section id="{escape(name)}"><h2>{escape(title)}</h2>\n{body}\n</section>'


def document(title: str, lead: Sequence[str], sections: Sequence[tuple[str, str, Sequence[str]]]) -> str:
    """A whole page with a table of contents.

    Args:
        title: title and first heading.
        lead: parts that stand above the contents.
        sections: name, title and parts of each section.
    """
    top = "\n".join(lead)
    links = "".join(f'<li><a href="#{escape(name)}">{escape(head)}</a></li>' for name, head, _ in sections)
    body = "\n".join(section(name, head, *parts) for name, head, parts in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>\n{top}\n</header>\n"
        f'<nav aria-label="Contents"><h2>Contents</h2><ol>{links}</ol></nav>\n'
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
