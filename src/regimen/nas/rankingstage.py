"""The ranking as a stage of a run: random networks are trained alone, and the evaluator's order compared to theirs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from regimen.nas.cost import Unit
from regimen.nas.evaluating.choice import EvaluatorSettings
from regimen.nas.evaluating.standalone import StandaloneEvaluator, TrainAlone
from regimen.nas.ranking import RankingReport, ranking_report
from regimen.nas.rankingpage import write_ranking
from regimen.nas.searcher import Evaluator
from regimen.nas.searchproblem import SearchProblem
from regimen.nas.searchstage import stopped
from regimen.nas.space import Architecture, Space
from regimen.nas.stages import StageRun

_TRIES = 50
"""Random architectures that are drawn for each network of the ranking, at most."""
_BASELINES: dict[Unit, str] = {"params": "parameters", "mmac": "multiply-adds"}
"""By unit, the words for what costs nothing to know; parameters come first in what is said."""


class Ranking(NamedTuple):
    """What is ranked, and against what."""

    problem: SearchProblem
    evaluator: Evaluator
    """Whose order is in question."""
    judge: EvaluatorSettings
    """What it is, in settings and in words."""
    num_networks: int
    num_seeds: int
    """Trainings of each network."""


def rank(ranking: Ranking, train: TrainAlone, run: StageRun) -> dict[str, float]:
    """Trains the networks, writes `ranking.json` and `ranking.html`, and says in notes what came out. A stopped one
    goes on with the network where it was.
    """
    networks = different(ranking.problem.space, ranking.num_networks, run.seed_for("networks"))
    seeds = tuple(run.seed_for("training", number) % 2**32 for number in range(ranking.num_seeds))
    alone = StandaloneEvaluator(ranking.problem.space, train, seeds)
    if restored := run.restore():
        alone.load_state_dict(restored.state)

    def keep() -> None:
        trained = [quality for known in alone.by_seed.values() for quality in known.values()]
        spent = min(1.0, len(trained) / (len(networks) * len(seeds)))
        timing = {"time/elapsed_s": run.elapsed_s, "time/fraction": spent}
        run.log(len(trained), {"ranking/accuracy": trained[-1], **timing})
        run.checkpoint(len(trained), alone.state_dict())
        if run.stop_reason:
            raise stopped(len(trained), run)

    alone.after_each = keep
    means = alone.evaluate(networks)
    networks = [network for network, mean in zip(networks, means, strict=True) if math.isfinite(mean)]
    if len(networks) < len(means):
        run.note(f"{len(means) - len(networks)} networks diverged when trained alone, and are not ranked.")
    truth_NT = [[alone.by_seed[network][seed] for seed in seeds] for network in networks]
    estimates = ranking.evaluator.evaluate(networks)
    known = {cost.unit: cost for cost in ranking.problem.costs}
    costs = {word: known[unit].of(networks).tolist() for unit, word in _BASELINES.items() if unit in known}
    report = ranking_report(estimates, truth_NT, costs, seed=run.seed_for("resamples") % 2**32)
    write_ranking(run.artifacts, report, networks, estimates, truth_NT, ranking.judge.words, ranking.judge.who, costs)
    for sentence in report.sentences(f"{ranking.judge.who} ranks"):
        run.note(sentence)
    return final_numbers(report)


def final_numbers(report: RankingReport) -> dict[str, float]:
    """What the record ends with."""
    numbers = {"ranking/tau": report.estimates.kendall.value, "ranking/tau_low": report.estimates.kendall.low}
    if report.ceiling is not None:
        numbers["ranking/ceiling"] = report.ceiling.kendall
    return numbers


def different(space: Space, number: int, seed: int) -> list[Architecture]:
    """Up to `number` random networks in canonical form, each once; a small space may hold fewer."""
    draw, chosen = np.random.default_rng(seed), dict[Architecture, None]()
    for _ in range(_TRIES * number):
        if len(chosen) == number:
            break
        chosen[space.canonical(space.random(draw))] = None
    return list(chosen)
