"""What every page of ours is inside: one file that fetches nothing and executes nothing."""

from __future__ import annotations

from regimen.report.markup import Markup, join, tag
from regimen.report.style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""The browser enforces that nothing is fetched and nothing is executed, whatever a run's texts hold."""


def whole_page(
    title: str, *content: Markup, written: str = "Written by Regimen. This page needs no network."
) -> Markup:
    """From the doctype on."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    body = tag("main", *content, tag("footer", written))
    return join([Markup("<!doctype html>\n"), tag("html", head, tag("body", body), lang="en")])
