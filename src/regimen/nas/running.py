"""A whole architecture search as one run: train the supernet, search it, train what was found from scratch.

Each stage has its own seeds and budget, is checkpointed, and is not run again when the run goes on after it.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from regimen.errors import Problem, Stopped
from regimen.handle import Run
from regimen.nas.alone import Alone
from regimen.nas.costing import cost_table
from regimen.nas.evaluating.supernet_evaluator import SupernetEvaluator
from regimen.nas.images import Pictures
from regimen.nas.ranking import ranking_report
from regimen.nas.searching import Found, Search
from regimen.nas.searchproblem import SearchProblem
from regimen.nas.space import Architecture
from regimen.nas.stages import StageRun, Stages
from regimen.nas.supernet import Supernet
from regimen.nas.supernettask import SupernetTask
from regimen.nas.training import Trained, train_supernet
from regimen.records.writer import replace_file
from regimen.seeding import seed_globals
from regimen.spec import Budget

if TYPE_CHECKING:
    from regimen.nas.sampler import Sampler

_LOOKED_AT = 8
"""Random architectures whose mean accuracy is recorded while the supernet trains."""
_CALIBRATION_ROWS = 512
_TRIES = 50
"""Random architectures that are drawn for each network of the ranking, at most."""


def search_problem(sampler: Sampler, task: SupernetTask) -> SearchProblem | None:
    """The space with its costs and limits; None for a run without a search. Raises `Refused` for limits that no
    architecture can keep: known before anything is trained.
    """
    searcher = sampler.searcher
    if searcher is None:
        return None
    inputs = task.inputs(sampler.made_criterion.num_outputs(task.num_classes))
    units = dict.fromkeys(["mmac", "params", *searcher.cost.ranges()])
    costs = [cost_table(task.space, inputs, unit, cache=task.cache) for unit in units]
    return SearchProblem.of(task.space.make_supernet(inputs).space, costs, searcher.cost)


class ArchitectureRun:
    """One run of a sampler on a task."""

    def __init__(self, sampler: Sampler, task: SupernetTask, run: Run, device: torch.device) -> None:
        self.sampler, self.task, self.run, self.device = sampler, task, run, device
        self.criterion, self.searcher = sampler.made_criterion, sampler.searcher
        self.inputs = task.inputs(self.criterion.num_outputs(task.num_classes))
        parts = (task.splits.train, task.splits.valid, task.splits.test)
        self.train, self.valid, self.test = (Pictures(*(tensor.to(device) for tensor in part)) for part in parts)
        self.alone = Alone(sampler, task, self.train, self.valid, device)
        self.stages = Stages(run)
        seed_globals(run.seed_for("initial weights"), device)
        head = self.criterion.head(task.num_classes)
        self.model = Trained(task.space.make_supernet(self.inputs), head).to(device)
        supernet = self.model.network
        assert isinstance(supernet, Supernet)
        self.supernet: Supernet = supernet
        self.problem = search_problem(sampler, task)

    def go(self) -> dict[str, float]:
        """All stages; the final metrics."""
        if self.searcher is not None and self.problem is not None:
            # Begun here already, since it may learn while the supernet trains.
            self.search = Search(self.searcher, self.problem, self.evaluator(), self.run.generator("searcher"))
            self.searcher.attach(self.supernet)
        trained = self._once("supernet", self._train_supernet)
        final: dict[str, float] = dict(trained["metrics"])
        self._take_back_weights()
        if self.searcher is None:
            return final
        if trained["searcher"]:  # what it learned while the supernet trained, also after a stop in between
            self.searcher.load_state_dict(trained["searcher"])
        found = self._once("search", self._search)
        final["search/accuracy"] = found["quality"]
        final |= {f"found/{unit}": cost for unit, cost in found["costs"].items()}
        architecture = self.supernet.space.check(found["architecture"])
        if self.sampler.retrain is not None:
            final |= self._once("retrain", lambda: self._retrain(architecture))
        if self.sampler.rank:
            final |= self._once("ranking", self._rank)
        return final

    def _once(self, name: str, stage: Callable[[], tuple[Mapping[str, Any], int]]) -> Mapping[str, Any]:
        """What a stage left; it runs if it has not ended yet."""
        if (found := self.stages.result(name)) is None:
            found, steps = stage()
            self.stages.finish(name, found, steps)
        return dict(found)

    # ------------------------------------------------------------------ the supernet

    def _train_supernet(self) -> tuple[Mapping[str, Any], int]:
        run = self.stages.run_of("supernet", self.run.budget)
        self.sampler.attach(self.supernet, self.run.generator("sampler"))
        evaluator = self.evaluator()
        draw = np.random.default_rng(run.seed_for("looked at"))
        looked_at = [self.supernet.space.random(draw) for _ in range(_LOOKED_AT)]

        def evaluate() -> Mapping[str, float]:
            found = evaluator.evaluate(looked_at)
            return {"valid/accuracy": sum(found) / len(found)}

        parts: dict[str, Any] = {"sampler": self.sampler}
        if self.searcher is not None and self.searcher.needs_supernet:
            parts["searcher"] = self.searcher
        final = train_supernet(
            self.alone.learning(run),
            self.model,
            self.sampler,
            self.alone.batches(run),
            evaluate,
            parts,
            self._observe(run),
        )
        self._leave_weights()
        seen: dict[str, Any] = {key: value for key, value in final.items() if key.startswith("valid/")}
        return {
            "metrics": seen,
            "searcher": parts["searcher"].state_dict() if "searcher" in parts else {},
        }, run.spent.steps

    def _observe(self, run: StageRun) -> Callable[[int], None]:
        """Lets the searcher learn from rows for searching before each step, where it wants to."""
        searcher = self.searcher
        if searcher is None or not searcher.needs_supernet:
            return lambda step: None
        return lambda step: searcher.observe(self._valid_losses(run.seed_for("search rows"), step))

    def _valid_losses(self, seed: int, step: int) -> Callable[[], Tensor]:
        """The supernet's loss on batches of the rows for searching, which follow from `step`."""
        draw = np.random.default_rng([seed, step])

        def loss() -> Tensor:
            rows = torch.from_numpy(draw.integers(0, len(self.valid.classes), self.sampler.batch_size)).to(self.device)
            outputs = self.model(self.valid.inputs[rows])
            return self.criterion.losses(outputs, self.valid.classes[rows], self.model.criterion_head).mean()

        return loss

    def _leave_weights(self) -> None:
        from safetensors.torch import save

        tensors = {name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        replace_file(self.run.artifacts / "supernet.safetensors", save(tensors))

    def _take_back_weights(self) -> None:
        from safetensors.torch import load_file

        self.model.load_state_dict(load_file(self.run.artifacts / "supernet.safetensors", device=str(self.device)))

    # ------------------------------------------------------------------ the search

    def evaluator(self) -> SupernetEvaluator:
        """Judges architectures by the supernet's weights on the rows for searching."""

        def right(outputs: Tensor, classes: Tensor) -> Tensor:
            return self.criterion.hits(outputs, classes, self.model.criterion_head)

        mode, rows = self.sampler.batch_norm, None
        if mode == "recalibrated":  # rows as the supernet sees them in training
            draw = np.random.default_rng(self.run.seed_for("calibration"))
            rows = self.task.augment(self.train.inputs[:_CALIBRATION_ROWS], draw)
        return SupernetEvaluator(
            self.supernet,
            self.valid.inputs,
            self.valid.classes,
            normalization=mode,
            calibration=rows,
            # A row may be judged by its neighbours in the batch: then all are one batch.
            batch_size=len(self.valid.classes) if self.criterion.rows_of_a_class() > 1 else None,
            scores=right,
        )

    def _search(self) -> tuple[Mapping[str, Any], int]:
        searcher = self.searcher
        assert searcher is not None
        run = self.stages.run_of("search", Budget(steps=searcher.queries))
        restored = run.restore()
        search = self.search
        if restored:
            search.load_state_dict(restored.state)
        learned = int(restored.state["learned"]) if restored else 0
        for step in itertools.count(learned) if searcher.needs_supernet and learned >= 0 else ():
            if not searcher.learn(self._valid_losses(run.seed_for("learning rows"), step)):
                break
            if run.stop_reason or (step + 1) % run.settings.checkpoint.every == 0:
                run.checkpoint(0, {**search.state_dict(), "learned": step + 1})
            if run.stop_reason:
                raise _stopped(0, run)
        recorded = len(search.history)
        while search.step():
            recorded = self._tell(run, search, recorded)
            run.checkpoint(recorded, {**search.state_dict(), "learned": -1})
            if run.stop_reason:
                raise _stopped(recorded, run)
        self._tell(run, search, recorded)
        found = search.found()
        everything = {
            "found": _json(found),
            "history": [[list(each.architecture), each.quality] for each in search.history],
        }
        replace_file(self.run.artifacts / "search.json", json.dumps(everything, indent=1).encode())
        self.run.note(f"the search judged {found.num_judged} networks and found {_written(found.architecture)}.")
        return _json(found), max(1, len(search.history))

    def _tell(self, run: StageRun, search: Search, recorded: int) -> int:
        """Records what was judged since `recorded`."""
        best = max((each.rank for each in search.history[:recorded]), default=-math.inf)
        for number, each in enumerate(search.history[recorded:], recorded + 1):
            best = max(best, each.rank)
            run.log(number, {"search/accuracy": each.quality, "search/best": best})
        return len(search.history)

    # ------------------------------------------------------------------ networks on their own

    def _retrain(self, architecture: Architecture) -> tuple[Mapping[str, float], int]:
        assert self.sampler.retrain is not None
        run = self.stages.run_of("retrain", Budget(epochs=self.sampler.retrain), prefix="retrain_")
        model = self.alone.trained(architecture, run)
        seen = self.alone.test_metrics(model, self.test)
        self.run.log(self.stages.steps + run.spent.steps, seen)
        self.task.export(model.network, architecture, self.run.artifacts)
        return seen, run.spent.steps

    def _rank(self) -> tuple[Mapping[str, float], int]:
        """Trains random networks on their own and says how well the supernet ranked them."""
        space, draw = self.supernet.space, np.random.default_rng(self.run.seed_for("ranking"))
        chosen: dict[Architecture, Architecture] = {}
        for _ in range(_TRIES * self.sampler.rank):  # a small space may hold fewer networks
            if len(chosen) == self.sampler.rank:
                break
            architecture = space.random(draw)
            chosen.setdefault(space.canonical(architecture), architecture)
        networks, epochs = list(chosen.values()), self.sampler.rank_epochs
        run = self.stages.run_of("ranking", Budget(epochs=epochs))
        restored = run.restore()
        truth: list[float] = list(restored.state["truth"]) if restored else []
        for number in range(len(truth), len(networks)):
            quiet = Run.unrecorded(self.run.folder, run.settings)
            quiet.seed = run.seed_for(number) % 2**32
            model = self.alone.trained(networks[number], quiet)
            truth.append(self.alone.looked_at(model, self.valid)[1])
            run.log(number + 1, {"ranking/accuracy": truth[-1]})
            run.checkpoint(number + 1, {"truth": truth})
            if run.stop_reason:
                raise _stopped(number + 1, run)
        return self._report(networks, truth), len(networks)

    def _report(self, networks: list[Architecture], truth: list[float]) -> dict[str, float]:
        from regimen.nas.rankingpage import write_ranking

        assert self.problem is not None
        estimates = self.evaluator().evaluate(networks)
        words = {"params": "parameters", "mmac": "multiply-adds"}
        costs = {words[cost.unit]: cost.of(networks) for cost in self.problem.costs if cost.unit in words}
        report = ranking_report(estimates, truth, costs, seed=self.run.seed_for("resamples") % 2**32)
        write_ranking(self.run.artifacts, report, networks, estimates, truth)
        for sentence in report.sentences():
            self.run.note(sentence)
        return {"ranking/tau": report.estimates.kendall.value, "ranking/tau_low": report.estimates.kendall.low}


def _stopped(step: int, run: Run) -> Stopped:
    fix = "`regimen resume` goes on from here."
    return Stopped(Problem("", f"stopped after {step} networks: {run.stop_reason}.", fix))


def _written(architecture: Architecture) -> str:
    return "-".join(map(str, architecture))


def _json(found: Found) -> dict[str, Any]:
    return {
        "architecture": list(found.architecture),
        "quality": found.quality,
        "costs": dict(found.costs),
        "num_judged": found.num_judged,
    }
