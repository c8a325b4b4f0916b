"""Settings suggested by a model of what was tried, through Optuna (Akiba et al., arXiv:1907.10902).

A suggestion is a function of the scores before it and of the seed: the sampler is made afresh for each batch, with a
seed derived from its number, and told everything that came before. So a log is enough to go on with the same trials.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from regimen.errors import MissingExtra, Problem
from regimen.randomness import derived_seed
from regimen.study.methods import Bayesian
from regimen.study.space import Choices, Range, Space
from regimen.study.trial import Setting


class Suggestions:
    """What to try after the scores so far. Raises `MissingExtra` without Optuna."""

    def __init__(self, settings: Bayesian, space: Space) -> None:
        try:
            import optuna
        except ImportError as error:
            fix = "pip install 'regimen-ml[bench]', or choose random, halton or sobol."
            raise MissingExtra(Problem("tune.method", "bayesian needs Optuna, which is not installed.", fix)) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.optuna, self.settings, self.space = optuna, settings, space
        self.distributions = {path: self._distribution(each) for path, each in space.items()}
        self._asked: list[dict[str, Any]] = []
        """What was suggested so far, as Optuna has it; made again from the scores when a tuning goes on."""

    def after(self, scores: Sequence[float]) -> list[Setting]:
        """The batch that follows these scores, which are those of all batches before it, lower is better."""
        number = len(scores)
        if len(self._asked) <= number:
            self._ask(scores)
        return [self._setting(asked) for asked in self._asked[number : number + self.settings.batch]]

    def chosen(self, number: int) -> Setting | None:
        """A setting that was suggested before; None if there were fewer."""
        return self._setting(self._asked[number]) if number < len(self._asked) else None

    def _ask(self, scores: Sequence[float]) -> None:
        create = self.optuna.trial.create_trial
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=self.optuna.exceptions.ExperimentalWarning)
            study = self.optuna.create_study(sampler=self._sampler(len(scores)))
            for asked, score in zip(self._asked, _finite(scores), strict=False):
                study.add_trial(create(params=asked, distributions=self.distributions, value=score))
            for _ in range(self.settings.batch):
                self._asked.append(dict(study.ask(self.distributions).params))

    def _sampler(self, number: int) -> Any:
        seed = derived_seed(self.settings.seed, "tune", "bayesian", number) % 2**32
        samplers, startup = self.optuna.samplers, self.settings.startup
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=self.optuna.exceptions.ExperimentalWarning)
            if self.settings.sampler == "gp":
                return samplers.GPSampler(seed=seed, n_startup_trials=startup)
            return samplers.TPESampler(
                seed=seed,
                n_startup_trials=startup,
                multivariate=len(self.space) > 1,
                constant_liar=self.settings.batch > 1,
            )

    def _distribution(self, dimension: Range | Choices) -> Any:
        distributions = self.optuna.distributions
        if isinstance(dimension, Choices):  # by position: a value may be a group of settings
            return distributions.CategoricalDistribution(range(len(dimension.choices)))
        if dimension.whole:
            return distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
        return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)

    def _setting(self, asked: dict[str, Any]) -> Setting:
        return {
            path: each.choices[asked[path]] if isinstance(each, Choices) else each.rounded(asked[path])
            for path, each in self.space.items()
        }


def _finite(scores: Sequence[float]) -> list[float]:
    """What the model is told: a setting that did not train is as bad as the worst that did. No record holds this."""
    worst = max((score for score in scores if math.isfinite(score)), default=0.0)
    return [score if math.isfinite(score) else worst for score in scores]
