"""What is left of a ranking: its numbers as JSON, and a page with the sentences that say what they mean, and a figure.

    ranking.json  {"sentences": [..], "estimates": {..}, "baselines": {name: {..}}, "ceiling": {..} or null,
                   "networks": [{"architecture": [..], "estimate": .., "alone": [..]}]}

Numbers that are not defined, such as tau where all are equal, are null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from regimen.nas.ranking import Agreement, Interval, RankingReport
from regimen.nas.rankingfigure import ranking_figure
from regimen.nas.space import Architecture
from regimen.nas.tabular import written
from regimen.readable import number
from regimen.records.writer import replace_file
from regimen.report.markup import Markup, fold, join, section, table, tag
from regimen.report.shell import whole_page

_MEANING = (
    "tau-b is 1 where two orders agree about every pair of networks, 0 where they agree as often as chance would have "
    "it, -1 where one is the other turned round; rho is the correlation of the ranks. In brackets is where each lies "
    "with 95 % confidence (bootstrap over the networks).",
    "Found is the part of the truly best, or worst, that the order puts there, too; tau in the best 20 % says whether "
    "it tells good networks from very good ones. Regret is how much lower the accuracy of its first choice is than "
    "that of the best network.",
    "Counting parameters or multiply-adds costs nothing: an evaluator is of use where it ranks better. Another "
    "training says how sure the truth itself is: how well two trainings of the same networks agree.",
)


def write_ranking(
    folder: Path,
    report: RankingReport,
    networks: Sequence[Architecture],
    estimates: Sequence[float],
    truth_NT: Sequence[Sequence[float]],
    what: str,
    who: str,
    baselines: Mapping[str, Sequence[float]],
) -> None:
    """Writes `ranking.json` and `ranking.html` into `folder`. `what` are the estimates for people (`accuracy with the
    supernet's weights`), `who` gave them (`The supernet`); `truth_NT` is the accuracy of each network by training;
    `baselines` are those of the report, a number for each network.
    """
    sentences = report.sentences(f"{who} ranks")
    body = {"sentences": sentences, **_numbers(report), "networks": _rows(networks, estimates, truth_NT)}
    replace_file(folder / "ranking.json", json.dumps(body, indent=1, allow_nan=False).encode())
    title = f"How well {who[:1].lower()}{who[1:]} ranks networks"
    number_of_times = len(truth_NT[0])
    times = {1: "", 2: " twice"}.get(number_of_times, f" {number_of_times} times")
    done = f"{len(networks)} random networks were each trained alone{times}. Is their order the same by {what}?"
    page = whole_page(
        title,
        tag("h1", title),
        tag("p", done, class_="sub"),
        _verdict(report, sentences),
        tag("div", join(_figures(report, networks, estimates, truth_NT, what, baselines)), class_="charts"),
        section("Numbers", _table(report, who), join(tag("p", text, class_="hint") for text in _MEANING)),
        section("Networks", fold(f"all {len(networks)}", _listed(networks, estimates, truth_NT, what))),
    )
    replace_file(folder / "ranking.html", page.encode())


def _figures(
    report: RankingReport,
    networks: Sequence[Architecture],
    estimates: Sequence[float],
    truth_NT: Sequence[Sequence[float]],
    what: str,
    baselines: Mapping[str, Sequence[float]],
) -> list[Markup]:
    """The estimates, and beside them the first baseline: does the eye see more order in one than in the other?"""
    names, across = [*map(written, networks)], "accuracy when trained alone"
    found = [ranking_figure(estimates, truth_NT, names, tau=report.estimates.kendall, across=across, up=what)]
    for baseline in report.baselines[:1]:
        values, tau = baselines[baseline.name], baseline.agreement.kendall
        found.append(ranking_figure(values, truth_NT, names, tau=tau, across=across, up=baseline.name))
    return found


def _verdict(report: RankingReport, sentences: Sequence[str]) -> Markup:
    """Green where the order is better than all that costs nothing, red where it is worse than some of it."""
    verdicts = [baseline.verdict for baseline in report.baselines]
    if "worse" in verdicts or not report.estimates.kendall.low > 0:
        look = "bad"
    else:
        look = "good" if all(verdict == "better" for verdict in verdicts) else "warn"
    first, *rest = sentences
    return tag("div", tag("p", tag("b", first)), join(tag("p", text) for text in rest), class_=f"status {look}")


def _table(report: RankingReport, who: str) -> Markup:
    """An order a column, a number a row."""
    orders = [report.estimates, *(each.agreement for each in report.baselines)]
    rows: list[tuple[object, ...]] = [
        (what, *(cell(agreement) for agreement in orders), *_of_the_ceiling(report, what))
        for what, cell in _ROWS.items()
    ]
    head = ("", who, *(f"counting {each.name}" for each in report.baselines))
    head = head if report.ceiling is None else (*head, "another training")
    return table(head, rows, frozenset(range(1, len(head))))


def _of_the_ceiling(report: RankingReport, what: str) -> tuple[str, ...]:
    if report.ceiling is None:
        return ()
    known = {"Kendall's tau-b": report.ceiling.kendall, "tau-b in the best 20 %": report.ceiling.kendall_top}
    return (_said(known[what]) if what in known else "",)


def _with_interval(found: Interval) -> Markup:
    between = f"({_said(found.low)} to {_said(found.high)})" if math.isfinite(found.value) else ""
    return join([_said(found.value), tag("small", between)])


def _percent(share: float) -> str:
    return _said(share, lambda value: f"{100 * value:.0f} %")


def _said(value: float, words: Any = lambda value: f"{value:.3f}") -> str:
    return str(words(value)) if math.isfinite(value) else "–"


_ROWS: dict[str, Callable[[Agreement], object]] = {
    "Kendall's tau-b": lambda found: _with_interval(found.kendall),
    "Spearman's rho": lambda found: _with_interval(found.spearman),
    "best 5 % found": lambda found: _percent(found.precision_5),
    "best 10 % found": lambda found: _percent(found.precision_10),
    "worst 10 % found": lambda found: _percent(found.worst_10),
    "tau-b in the best 20 %": lambda found: _said(found.kendall_top),
    "regret of the first choice": lambda found: _said(found.regret),
}


def _listed(
    networks: Sequence[Architecture], estimates: Sequence[float], truth_NT: Sequence[Sequence[float]], what: str
) -> Markup:
    """Best first."""
    order = sorted(range(len(networks)), key=lambda place: -math.fsum(truth_NT[place]))
    rows = [
        (
            tag("code", written(networks[place])),
            _said(estimates[place], lambda value: number(value, 4)),
            ", ".join(_said(value) for value in truth_NT[place]),
        )
        for place in order
    ]
    return table(("network", what, "accuracy alone"), rows, frozenset({1, 2}), "narrow")


def _numbers(report: RankingReport) -> dict[str, Any]:
    found = {
        "estimates": report.estimates._asdict(),
        "baselines": {
            each.name: {**each.agreement._asdict(), "advantage": each.advantage} for each in report.baselines
        },
        "ceiling": report.ceiling and report.ceiling._asdict(),
    }
    plain: dict[str, Any] = _plain(found)
    return plain


def _plain(value: Any) -> Any:
    """With named tuples as dicts, and null for what is not defined."""
    if isinstance(value, Interval):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(
    networks: Sequence[Architecture], estimates: Sequence[float], truth_NT: Sequence[Sequence[float]]
) -> list[dict[str, Any]]:
    return [
        {"architecture": list(network), "estimate": _plain(float(estimate)), "alone": list(alone)}
        for network, estimate, alone in zip(networks, estimates, truth_NT, strict=True)
    ]
