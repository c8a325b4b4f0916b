"""A whole architecture search as one run: train the supernet, search it, train what was found from scratch.

Each stage has its own seeds and budget, is checkpointed, and is not run again when the run goes on after it. Where
nothing needs the supernet's weights (networks are trained alone, or scored untrained), it is not trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from regimen.errors import Problem, Refused
from regimen.handle import Run
from regimen.nas.alone import Alone
from regimen.nas.costing import cost_table
from regimen.nas.evaluating.standalone import StandaloneEvaluator
from regimen.nas.evaluating.supernet_evaluator import SupernetEvaluator, rows_at_once, usual_batch
from regimen.nas.evaluating.zero_cost import ZeroCostEvaluator
from regimen.nas.images import Pictures
from regimen.nas.ranking import FEWEST
from regimen.nas.rankingstage import Ranking, different, rank
from regimen.nas.searcher import Evaluator
from regimen.nas.searching import Search
from regimen.nas.searchproblem import SearchProblem
from regimen.nas.searchstage import SearchStage, json_of
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
_SEED = 2**32
"""Seeds of a run are below."""


def search_problem(sampler: Sampler, task: SupernetTask, supernet: Supernet | None = None) -> SearchProblem | None:
    """The space with its costs and limits; None for a run without a search. Raises `Refused` for limits that no
    architecture can keep: known before anything is trained. `supernet` saves making one, which takes a while.
    """
    searcher = sampler.searcher
    if searcher is None:
        return None
    inputs = task.inputs(sampler.made_criterion.num_outputs(task.num_classes))
    units = dict.fromkeys(["mmac", "params", *searcher.cost.ranges()])
    net = supernet or task.space.make_supernet(inputs)
    costs = [cost_table(net, inputs, unit, cache=task.cache) for unit in units]
    return SearchProblem.of(net.space, costs, searcher.cost)


def misfits(sampler: Sampler, task: SupernetTask) -> Iterator[Problem]:
    """What of the search cannot be done, or would have no effect: known before anything is trained."""
    evaluator, searcher = sampler.evaluator, sampler.searcher
    place = "strategy.evaluator"
    if searcher is None and not evaluator.needs_supernet:
        yield Problem(place, f"is {evaluator.name}, and nothing is searched.", "Remove it, or give a search.")
    if evaluator.is_proxy and not task.splits.train.inputs.is_floating_point():
        text = f"is {evaluator.name}, which scores networks of pictures; {task.name} has texts."
        yield Problem(place, text, "Use supernet or standalone.")
    if sampler.batch_norm != "recalibrated" and not evaluator.needs_supernet:
        text = f"is {sampler.batch_norm!r}, and no architecture is judged with the supernet's weights."
        yield Problem("strategy.batch_norm", text, "Remove it, or use the evaluator supernet.")
    try:
        sampler.prepare(task)
        problem = search_problem(sampler, task)
    except Refused as error:
        yield from error.problems
        return
    if sampler.rank and problem is not None and (few := len(different(problem.space, FEWEST, 0))) < FEWEST:
        text = f"is {sampler.rank}, and the space has {few} different networks, too few to rank."
        yield Problem("strategy.rank", text, "Set it to 0.")


class ArchitectureRun:
    """One run of a sampler on a task."""

    def __init__(self, sampler: Sampler, task: SupernetTask, run: Run, device: torch.device) -> None:
        self.sampler, self.task, self.run, self.device = sampler, task, run, device
        self.criterion, self.searcher = sampler.made_criterion, sampler.searcher
        parts = (task.splits.train, task.splits.valid, task.splits.test)
        self.train, self.valid, self.test = (Pictures(*(tensor.to(device) for tensor in part)) for part in parts)
        self.alone = Alone(sampler, task, self.train, self.valid, device)
        self.inputs = self.alone.inputs
        self.stages = Stages(run)
        seed_globals(run.seed_for("initial weights"), device)
        head = self.criterion.head(task.num_classes)
        self.supernet = task.space.make_supernet(self.inputs)
        self.problem = search_problem(sampler, task, self.supernet)  # milliseconds are those of the CPU
        self.model = Trained(self.supernet, head).to(device)

    def go(self) -> dict[str, float]:
        """All stages; the final metrics."""
        searcher, evaluator = self.searcher, self.sampler.evaluator
        if searcher is not None and self.problem is not None:
            # Begun here already, since it may learn while the supernet trains.
            self.search = Search(searcher, self.problem, self.evaluator(), self.run.generator("searcher"))
            searcher.attach(self.supernet)
        final: dict[str, float] = {}
        if searcher is None or searcher.needs_supernet or evaluator.needs_supernet:
            trained = self._once("supernet", self._train_supernet)
            final |= trained["metrics"]
            self._take_back_weights()
            if searcher is not None and trained["searcher"]:  # what it learned meanwhile, also after a stop in between
                searcher.load_state_dict(trained["searcher"])
        elif self.stages.result("search") is None:
            self.run.note(f"no supernet is trained: {evaluator.name} judges networks without one.")
        if searcher is None:
            return final
        found = self._once("search", self._search)
        final[f"search/{evaluator.metric}"] = found["quality"]
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
        evaluator = self.supernet_evaluator()
        draw = np.random.default_rng(run.seed_for("looked at"))
        looked_at = [self.supernet.space.random(draw) for _ in range(_LOOKED_AT)]

        def evaluate() -> Mapping[str, float]:
            found = evaluator.evaluate(looked_at)
            return {"valid/accuracy": sum(found) / len(found)}

        parts: dict[str, Any] = {"sampler": self.sampler}
        if self.searcher is not None and self.searcher.needs_supernet:
            parts["searcher"] = self.searcher
        if run.restore() is None:
            run.note(f"valid/accuracy is the mean over {_LOOKED_AT} random networks with the supernet's weights.")
        learning, batches = self.alone.learning(run), self.alone.batches(run)
        final = train_supernet(learning, self.model, self.sampler, batches, evaluate, parts, self._observe(run))
        leave(self.model.state_dict(), self.run, "supernet")
        seen = {key: value for key, value in final.items() if key.startswith("valid/")}
        learned = parts["searcher"].state_dict() if "searcher" in parts else {}
        return {"metrics": seen, "searcher": learned}, run.spent.steps

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

    def _take_back_weights(self) -> None:
        from safetensors.torch import load_file

        self.model.load_state_dict(load_file(self.run.artifacts / "supernet.safetensors", device=str(self.device)))

    # ------------------------------------------------------------------ the search

    def evaluator(self) -> Evaluator:
        """What judges the architectures of the search, as the settings say."""
        chosen = self.sampler.evaluator
        if chosen.needs_supernet:
            return self.supernet_evaluator()
        seeds = tuple(self.run.seed_for("evaluator", number) % _SEED for number in range(chosen.num_seeds))
        if not chosen.is_proxy:
            stage = self.stages.run_of("search", Budget(epochs=chosen.num_epochs))
            return StandaloneEvaluator(self.supernet.space, self._accuracy_in(stage), seeds)
        rows = min(chosen.num_rows, len(self.train.classes))
        draw = np.random.default_rng(self.run.seed_for("scored rows"))
        drawn = torch.from_numpy(draw.permutation(len(self.train.classes))[:rows]).to(self.device)
        inputs = self.task.augment(self.train.inputs[drawn], draw)
        shape = self.task.inputs()  # a score is that of a classifier, whatever the criterion
        return ZeroCostEvaluator(
            self.supernet.space,
            lambda architecture: self.task.space.make_network(architecture, shape),
            chosen.name,
            inputs,
            self.train.classes[drawn],
            seeds,
        )

    def _accuracy_in(self, stage: StageRun) -> Callable[[Architecture, int], float]:
        return lambda architecture, seed: self.alone.accuracy(architecture, seed, stage)

    def supernet_evaluator(self) -> SupernetEvaluator:
        """Judges architectures by the supernet's weights on the rows for searching."""

        def right(outputs: Tensor, classes: Tensor) -> Tensor:
            return self.criterion.hits(outputs, classes, self.model.criterion_head)

        mode, rows = self.sampler.batch_norm, None
        if mode == "recalibrated":  # rows as the supernet sees them in training
            draw = np.random.default_rng(self.run.seed_for("calibration"))
            rows = self.task.augment(self.train.inputs[:_CALIBRATION_ROWS], draw)
        usual = usual_batch(self.valid.inputs)
        size: int | None = rows_at_once(self.valid.classes, self.inputs.num_classes, usual)
        if self.criterion.rows_of_a_class() > 1:  # a row may be judged by its neighbours: then all are one batch
            size = len(self.valid.classes)
        return SupernetEvaluator(
            self.supernet,
            self.valid.inputs,
            self.valid.classes,
            normalization=mode,
            calibration=rows,
            batch_size=None if size == usual else size,
            scores=right,
        )

    def _search(self) -> tuple[Mapping[str, Any], int]:
        searcher = self.searcher
        assert searcher is not None
        run = self.stages.run_of("search", Budget(steps=searcher.queries))
        stage = SearchStage(self.search, run, self.sampler.evaluator.metric)
        if searcher.needs_supernet:
            seed = run.seed_for("learning rows")
            stage.learn(lambda step: searcher.learn(self._valid_losses(seed, step)))
        found = stage.go()
        return json_of(found), max(1, len(self.search.history))

    # ------------------------------------------------------------------ networks on their own

    def _retrain(self, architecture: Architecture) -> tuple[Mapping[str, float], int]:
        assert self.sampler.retrain is not None
        run = self.stages.run_of("retrain", Budget(epochs=self.sampler.retrain), prefix="retrain_")
        model = self.alone.trained(architecture, run)
        seen = self.alone.test_metrics(model, self.test)
        run.log(run.spent.steps, seen)
        head = {} if model.criterion_head is None else model.criterion_head.state_dict(prefix="criterion_head.")
        leave({**model.network.state_dict(), **head}, self.run, "network")
        self.task.export(model.network, architecture, self.run.artifacts)
        return seen, run.spent.steps

    def _rank(self) -> tuple[Mapping[str, float], int]:
        """Trains random networks on their own and says how well the evaluator ranked them."""
        sampler = self.sampler
        assert self.problem is not None
        run = self.stages.run_of("ranking", Budget(epochs=sampler.rank_epochs))
        ranking = Ranking(self.problem, self.search.evaluator, sampler.evaluator, sampler.rank, sampler.rank_seeds)
        return rank(ranking, self._accuracy_in(run), run), sampler.rank * sampler.rank_seeds


def leave(tensors: Mapping[str, Tensor], run: Run, name: str) -> None:
    """Writes weights into `artifacts`."""
    from safetensors.torch import save

    replace_file(
        run.artifacts / f"{name}.safetensors", save({key: tensor.contiguous() for key, tensor in tensors.items()})
    )
