"""What a run is told: given to `run(...)`, typed on the command line, or left to its default; checked together."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regimen.deepobs.commandline import STANDARD, Parser, hyperparameter_word, parsed, standard_arguments
from regimen.deepobs.trainingparams import training_parameters
from regimen.errors import Problem, SpecError, did_you_mean

if TYPE_CHECKING:
    from regimen.deepobs.runner import Runner


@dataclass(frozen=True)
class Arguments:
    """One run in DeepOBS' words. Hyperparameters are the optimizer's, training parameters the protocol's."""

    standard: Mapping[str, Any]
    """By the names of `STANDARD`."""
    hyperparams: Mapping[str, Any]
    training_params: Mapping[str, Any]

    def flat(self) -> dict[str, Any]:
        """As DeepOBS' `parse_args` returns it."""
        return {**self.standard, "hyperparams": dict(self.hyperparams), **self.training_params}


def arguments(runner: Runner, given: Mapping[str, Any], argv: Sequence[str] | None) -> Arguments:
    """Completes what was given from `argv` (None: nobody typed any) and defaults.

    `given` has the names of `STANDARD`, `hyperparams` and `training_params`. Raises `SpecError` for what is missing or
    unknown.
    """
    hyperparams, training_params = given.get("hyperparams"), dict(given.get("training_params") or {})
    names = runner._hyperparameter_names
    _refuse_unknown("hyperparameter", hyperparams or {}, names, runner)
    _refuse_unknown("training parameter", training_params, training_parameters(type(runner)), runner)
    args = {name: given.get(name) for name in STANDARD}
    parser = Parser()
    standard_arguments(parser, args)
    try:
        runner._add_hyperparams_to_argparse(parser, args, hyperparams)
        runner._add_training_params_to_argparse(parser, args, training_params)
    except argparse.ArgumentError as error:
        fix = "Hyperparameters, training parameters and DeepOBS' own flags need different names."
        raise SpecError(Problem(type(runner).__name__, f"{error}.", fix)) from error
    args = {**training_params, **args, **parsed(parser, argv)}
    words = {name: hyperparameter_word(name) if hyperparameter_word(name) in args else name for name in names}
    values = {name: _typed(args.pop(word), names[name].get("type")) for name, word in words.items()}
    standard = {name: args.pop(name) for name in STANDARD}
    rest = {name: value for name, value in args.items() if value is not None}
    _refuse_unknown("training parameter", rest, training_parameters(type(runner)), runner)
    return Arguments(standard, values, rest)


def _refuse_unknown(what: str, given: Mapping[str, Any], allowed: Mapping[str, Any], runner: Runner) -> None:
    name = type(runner).__name__
    problems = []
    for word in given:
        if word not in allowed:
            near = did_you_mean(word, allowed)
            choice = f"Allowed: {', '.join(allowed)}." if allowed else "It takes none."
            fix = choice if near.startswith(("Known", "None")) else f"{near} {choice}"
            problems.append(Problem(name, f"{word!r} is no {what} of this runner.", fix))
    if problems:
        raise SpecError(problems)


def _typed(value: Any, kind: object) -> Any:
    """A whole number as the float that a hyperparameter is, so that 1 and 1.0 have one folder."""
    return float(value) if kind is float and type(value) is int else value
