"""HTML as a type of its own: plain text is escaped on its way in, so no value from a run can become markup.

>>> tag("p", "a < b", tag("b", "!"), class_="x")
'<p class="x">a &lt; b<b>!</b></p>'
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Markup(str):
    """Text that is HTML (or SVG) already."""

    __slots__ = ()


EMPTY = Markup()
_VOID = frozenset({"meta", "br", "path", "line", "rect", "circle", "polygon"})


def text(value: object) -> Markup:
    """`value` as HTML: escaped unless it is `Markup`."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """One element. `class_` is `class`, `stroke_width` is `stroke-width`; an attribute that is None is left out."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Markup(f"<{name}{said}/>")
    return Markup(f"<{name}{said}>{join(children)}</{name}>")


def join(parts: Iterable[object], separator: str = "") -> Markup:
    return Markup(text(separator).join(text(part) for part in parts))


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    numbers: frozenset[int] = frozenset(),
    look: str | None = None,
) -> Markup:
    """A table that scrolls on its own where the page is narrow; the columns in `numbers` are set to the right.

    `look`: `stack` gives the first column a line of its own on a phone, `narrow` keeps two columns near one another,
    `runs` keeps columns of words from becoming too narrow.
    """

    def cells(name: str, row: Sequence[object]) -> Markup:
        return join(tag(name, cell, class_="n" if place in numbers else None) for place, cell in enumerate(row))

    header = tag("thead", tag("tr", cells("th", head))) if head else EMPTY
    body = tag("tbody", join(tag("tr", cells("td", row)) for row in rows))
    return tag("div", tag("table", header, body, class_=look), class_="scroll")


def pairs(rows: Iterable[tuple[object, object]]) -> Markup:
    """Names with their values, a line each."""
    return tag("dl", join(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows))


def fold(summary: object, *children: object) -> Markup:
    """Shown when its summary is clicked; print shows the summary."""
    return tag("details", tag("summary", summary), *children)


def section(title: str, *children: object) -> Markup:
    """A titled part of the page; nothing at all if it has no content."""
    content = join(children)
    return tag("section", tag("h2", title), content) if content else EMPTY
