"""What is left of a ranking: its numbers as JSON, and a page of one figure and the sentences that say what it means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from regimen.nas.ranking import RankingReport
from regimen.nas.rankingfigure import ranking_figure
from regimen.nas.space import Architecture
from regimen.records.writer import replace_file
from regimen.report.markup import join, tag
from regimen.report.shell import whole_page


def write_ranking(
    folder: Path,
    report: RankingReport,
    networks: Sequence[Architecture],
    estimates: Sequence[float],
    truth: Sequence[float],
) -> None:
    """Writes `ranking.json` and `ranking.html` into `folder`."""
    names = ["-".join(map(str, network)) for network in networks]
    rows = [
        {"architecture": list(network), "supernet": estimate, "alone": alone}
        for network, estimate, alone in zip(networks, estimates, truth, strict=True)
    ]
    body = {"sentences": report.sentences(), "networks": rows}
    replace_file(folder / "ranking.json", json.dumps(body, indent=1).encode())
    title = "How well the supernet ranks"
    sentences = join(tag("p", sentence) for sentence in report.sentences())
    figure = ranking_figure(report, estimates, truth, names, up="accuracy with the supernet's weights")
    page = whole_page(title, tag("h1", title), sentences, tag("div", figure, class_="charts"))
    replace_file(folder / "ranking.html", page.encode())
