"""Runners on TensorFlow 2: the same numbers as on PyTorch, the same record, the same refusals.

Run by `make test-tf`, in an environment of its own that has TensorFlow.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regimen
from regimen.benchmark import Problem, Splits, TestProblem
from regimen.benchmark.tf import TFTestProblem
from regimen.benchmark.tf.framework import made_repeatable
from regimen.errors import Diverged, Refused, SpecError, Stopped
from regimen.execute import resume
from regimen.handle import STOP_FILE, Run
from regimen.records.reader import Record, find_records
from regimen.spec import RunSettings
from regimen.tasks.analytic import QuadraticDeep
from regimen.tasks.images import Fmnist2c2d, MnistLogreg, MnistMlp

tf = pytest.importorskip("tensorflow")

OWN_LOOP = '''
import tensorflow as tf
from regimen.deepobs.tensorflow import TFRunner

class Mine(TFRunner):
    """The usual loop, written out."""
    name = "mine"

    def training(self, testproblem, hyperparams, num_epochs, twice=False, **training_params):
        optimizer = self._optimizer_class(**hyperparams)
        variables = testproblem.net.trainable_variables
        lists, seen = [[] for _ in range(6)], []
        for epoch in range(num_epochs + 1):
            self.evaluate_all(epoch, num_epochs, testproblem, *lists)
            if epoch == num_epochs:
                break
            testproblem.train_init_op()
            while True:
                try:
                    with tf.GradientTape() as tape:
                        loss, _ = testproblem.get_batch_loss_and_accuracy()
                        loss = 2 * loss if twice else loss
                except StopIteration:
                    break
                optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
                seen.append(float(loss))
        names = ["train_losses", "valid_losses", "test_losses"]
        names += ["train_accuracies", "valid_accuracies", "test_accuracies"]
        return dict(zip(names, lists)) | {"minibatch_train_losses": seen}
'''


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    assert not list(made_repeatable(threads=1))


def quadratic(strategy: Any = "tf_standard", **more: Any) -> dict[str, Any]:
    optimizer = {"name": "sgd", "lr": 0.01}
    strategy = {"name": strategy, "optimizer": optimizer} if isinstance(strategy, str) else strategy
    return {"task": "quadratic_deep", "strategy": strategy, "budget": {"epochs": 2}, "threads": 1, **more}


def points(record: Record, *, timed: bool = False) -> dict[str, list[tuple[int, float]]]:
    curves = {key: curve for key, curve in record.curves.items() if timed or not key.startswith("time/")}
    return {key: [(point.step, point.value) for point in curve] for key, curve in curves.items()}


def small(cls: type[Problem], **settings: Any) -> Problem:
    """A problem on made-up rows: four batches of 16, few enough to take a fraction of a second."""

    class Small(cls):  # type: ignore[valid-type,misc]
        def read(self) -> Splits:
            return Splits.made(self.sample(96), self.sample(40), valid_rows=32)

    made: Problem = Small()
    for name, value in {"batch_size": 16, **settings}.items():
        setattr(made, name, value)
    return made


def both(problem: Problem) -> tuple[TestProblem, TFTestProblem]:
    """The live problem on PyTorch and on TensorFlow, of one seed."""
    runs = [Run.unrecorded(Path(), RunSettings(seed=1)) for _ in range(2)]
    live = TestProblem(problem, runs[0]), TFTestProblem(problem, runs[1])
    for each in live:
        each.set_up()
    return live


# ------------------------------------------------------------------ the same numbers as on PyTorch


@pytest.mark.parametrize("problem", [QuadraticDeep, MnistLogreg, MnistMlp, Fmnist2c2d])
def test_an_epoch_of_sgd_ends_with_the_weights_of_pytorch(problem: type[Problem]) -> None:
    """Same first weights, same batches, same penalty: 1e-5 is rounding."""
    made = QuadraticDeep() if problem is QuadraticDeep else small(problem, weight_decay=0.01)
    ours, theirs = both(made)
    assert theirs.values() == pytest.approx(ours.values(), rel=1e-5)
    assert [float(factor) for factor in theirs.regularization_groups] == list(ours.regularization_groups)
    rate, num_steps = 0.01, 0
    ours.train_init_op()
    theirs.train_init_op()
    while True:
        try:
            loss, accuracy = ours.get_batch_loss_and_accuracy()
            with tf.GradientTape() as tape:
                loss_tf, accuracy_tf = theirs.get_batch_loss_and_accuracy()
        except StopIteration:
            break
        assert (float(loss_tf), accuracy_tf) == (pytest.approx(float(loss.detach()), rel=1e-5), pytest.approx(accuracy))
        variables = theirs.net.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(loss_tf, variables), strict=True):
            variable.assign_sub(rate * gradient)
        loss.backward()
        for parameter in ours.net.parameters():
            parameter.data -= rate * parameter.grad
            parameter.grad = None
        num_steps += 1
    assert num_steps == len(ours.batches) == theirs.num_steps
    for parameter, variable in zip(ours.net.parameters(), theirs.net.trainable_variables, strict=True):
        weight = parameter.detach().numpy()
        turned = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        assert np.abs(turned - variable.numpy()).max() < 1e-5
    assert theirs.values() == pytest.approx(ours.values(), rel=1e-4)


@pytest.mark.parametrize(
    "optimizer", [{"name": "sgd"}, {"name": "sgd", "momentum": 0.9, "nesterov": True}, {"name": "adam"}]
)
def test_the_record_has_the_keys_the_steps_and_the_values_of_pytorch(optimizer: dict[str, Any]) -> None:
    strategy = {"optimizer": {**optimizer, "lr": 0.01}}
    task = {"name": "quadratic_deep", "weight_decay": 0.1}
    on_tf, on_torch = (
        regimen.run(quadratic({"name": name, **strategy}, task=task, log={"every": 3}))
        for name in ("tf_standard", "standard")
    )
    assert points(on_tf).keys() == points(on_torch).keys()
    for key, curve in points(on_torch).items():
        assert [step for step, _ in points(on_tf)[key]] == [step for step, _ in curve]
        assert [value for _, value in points(on_tf)[key]] == pytest.approx([value for _, value in curve], rel=1e-4), key
    assert on_tf.final == pytest.approx({key: on_torch.final[key] for key in on_tf.final}, rel=1e-4)
    assert on_tf.status == "completed"
    assert on_tf.state["step"] == 14


def test_momentum_by_its_name() -> None:
    same = [{"name": "sgd", "lr": 0.01}, {"name": "SGD", "learning_rate": 0.01}, {"name": "momentum", "lr": 0.01}]
    finals = [regimen.run(quadratic({"name": "tf_standard", "optimizer": each})).final for each in same]
    assert finals[0] == finals[1] == finals[2]


def test_a_factor_is_relative_to_the_base_rate() -> None:
    scheduled = {
        "name": "tf_lr_schedule",
        "optimizer": {"name": "sgd", "lr": 0.01},
        "lr_sched_epochs": [1, 2],
        "lr_sched_factors": [0.1, 0.01],
    }
    record = regimen.run(quadratic(scheduled, budget={"epochs": 3}, log={"every": 1}))
    assert [point.value for point in record.curve("train/lr")] == pytest.approx([0.01] * 7 + [0.001] * 7 + [0.0001] * 7)
    on_torch = regimen.run(quadratic({**scheduled, "name": "lr_schedule"}, budget={"epochs": 3}, log={"every": 1}))
    assert record.final["test/loss"] == pytest.approx(on_torch.final["test/loss"], rel=1e-5)
    with pytest.raises(Refused, match="has 1 factors, and lr_sched_epochs has 2 epochs"):
        regimen.run(quadratic({**scheduled, "lr_sched_factors": [0.1]}))


def test_real_pictures(data_dir: Path) -> None:
    """Two frameworks, one set of files: the same curve to five digits."""
    description = quadratic(task={"name": "mnist_logreg", "data_dir": str(data_dir)}, budget={"epochs": 1})
    description["strategy"]["optimizer"]["lr"] = 0.1
    on_tf = regimen.run(description)
    on_torch = regimen.run({**description, "strategy": {**description["strategy"], "name": "standard"}})
    assert on_tf.final["test/accuracy"] > 0.88
    assert on_tf.final["test/loss"] == pytest.approx(on_torch.final["test/loss"], rel=1e-5)


# ------------------------------------------------------------------ a loop of one's own


def test_a_loop_of_ones_own_leaves_what_the_standard_runner_leaves() -> None:
    Path("mine.py").write_text(OWN_LOOP)
    ours, mine = regimen.run(quadratic()), regimen.run(quadratic("./mine.py"))
    evaluations = ("train_eval/loss", "valid/loss", "test/loss")
    assert {key: points(mine)[key] for key in evaluations} == {key: points(ours)[key] for key in evaluations}
    assert "test/accuracy" not in mine.curves  # the problem has none
    twice = {"name": "./mine.py", "optimizer": {"name": "sgd", "lr": 0.01}, "twice": True}
    assert regimen.run(quadratic(twice)).final != mine.final


def test_deepobs_run_returns_the_output_and_writes_the_tree() -> None:
    from regimen.deepobs.tensorflow import StandardRunner

    runner = StandardRunner(tf.keras.optimizers.SGD, {"learning_rate": {"type": float}})
    output = runner.run("quadratic_deep", {"learning_rate": 0.01}, num_epochs=2, random_seed=0, train_log_interval=1)
    record = regimen.run(quadratic())
    assert output["test_losses"] == [value for _, value in points(record)["test/loss"]]
    assert len(output["minibatch_train_losses"]) == 14
    assert "test_accuracies" not in output
    (path,) = Path("results").rglob("*.json")
    assert path.parts[1:4] == ("quadratic_deep", "SGD", "num_epochs__2__batch_size__128__learning_rate__1.e-02")
    assert json.loads(path.read_text())["test_losses"] == output["test_losses"]


def test_the_forward_function_sees_the_same_batch_again() -> None:
    _, problem = both(QuadraticDeep())
    problem.train_init_op()
    with tf.GradientTape() as tape:
        (loss, accuracy), forward = problem.get_batch_loss_and_accuracy(return_forward_func=True)
    assert accuracy == 0.0
    assert float(forward()[0]) == float(loss)
    theta = problem.net.theta
    theta.assign_sub(0.01 * tape.gradient(loss, [theta])[0])
    assert float(forward()[0]) < float(loss)
    problem.test_init_op()
    sizes = []
    while True:
        try:
            sizes.append(len(problem.get_batch_loss_and_accuracy(reduction="none")[0]))
        except StopIteration:
            break
    assert (sum(sizes), sizes[-1]) == (1000, 1000 % 128)


class Dropping(MnistLogreg):
    """Has a net of its own for TensorFlow, with dropout and with weights that TensorFlow draws."""

    def make_tf_net(self) -> Any:
        layers = tf.keras.layers
        dense = layers.Dense(10, name="out")
        net = tf.keras.Sequential([layers.Input((28, 28, 1)), layers.Flatten(), layers.Dropout(0.5), dense])
        dense.kernel.assign(tf.random.normal((784, 10)))
        return net


def test_a_problem_brings_a_net_of_its_own() -> None:
    made = [both(small(Dropping, weight_decay=0.5))[1] for _ in range(2)]
    one, two = made
    assert [len(variables) for variables in one.regularization_groups.values()] == [1, 1]  # kernel, bias
    before = one.measure("valid")
    assert two.measure("valid") == before
    one.train_init_op()
    two.train_init_op()
    two.values()  # looking changes nothing
    (loss, _), forward = one.get_batch_loss_and_accuracy(return_forward_func=True)
    assert float(two.get_batch_loss_and_accuracy()[0]) == float(loss)
    assert float(forward(same_randomness=True)[0]) == float(loss)
    assert float(forward()[0]) != float(loss)  # another mask
    assert one.measure("valid") == before
    assert before.accuracy is not None


# ------------------------------------------------------------------ honesty


def test_a_diverged_run_ends_there_and_invents_nothing() -> None:
    wild = {"name": "tf_standard", "optimizer": {"name": "sgd", "lr": 1e4}}
    with pytest.raises(Diverged, match=r"step \d+: the (loss|norm of the gradient) is"):
        regimen.run(quadratic(wild, budget={"epochs": 50}))
    (record,) = find_records(Path("runs"))
    assert (record.status, record.state["exit_code"], record.final) == ("diverged", 4, {})
    assert record.state["step"] > 0
    assert all(math.isfinite(value) for curve in points(record).values() for _, value in curve)


def test_a_stopped_run_begins_again_and_ends_with_the_same_bytes() -> None:
    whole = regimen.run(quadratic(log={"every": 1}))

    def stop_at_three(event: Any) -> None:
        if getattr(event, "step", 0) == 3:
            (next(Path("stopped").rglob("spec.yaml")).parent / STOP_FILE).touch()

    with pytest.raises(Stopped, match="stopped at step 3"):
        regimen.run(quadratic(log={"every": 1}, output="stopped"), listeners=[stop_at_three])
    (stopped,) = find_records(Path("stopped"))
    assert (stopped.status, stopped.state["step"]) == ("stopped", 3)
    assert points(resume(stopped.folder)) == points(whole)


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        ({"name": "sdg"}, r"no optimizer 'sdg' in keras.optimizers. Did you mean 'sgd'"),
        ({"name": "sgd", "momentm": 0.9}, r"momentm: is no hyperparameter of sgd. Did you mean 'momentum'"),
        ({"name": "sgd", "lr": 0.1, "learning_rate": 0.1}, "is given besides lr"),
        ({"name": "sgd", "learning_rate": -1.0}, "lr"),
    ],
)
def test_a_wrong_optimizer_is_named(optimizer: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        regimen.run(quadratic({"name": "tf_standard", "optimizer": optimizer}))
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"evaluate": {"every": 3}}, "evaluate.every: is 3"),
        ({"checkpoint": {"best": "valid/loss"}}, "checkpoint.best: is 'valid/loss'"),
        ({"precision": "bf16"}, "precision: is bf16"),
        ({"device": "mps"}, "device: is 'mps'; on TensorFlow a runner trains on the CPU"),
        ({"budget": {"steps": 3}}, "budget: is steps: 3"),
        ({"task": "two_d_beale"}, r"two_d_beale has no form for TensorFlow: its losses\(\) is its own"),
        (
            {"strategy": {"name": "tf_standard", "optimizer": {"name": "sgd", "momentum": 2.0}}},
            "strategy.optimizer: sgd does not take these",
        ),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_is_spent(more: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        regimen.run(quadratic(**more))


def test_a_layer_without_translation_is_named() -> None:
    Path("normed.py").write_text(
        "from torch import nn\nfrom regimen.tasks.analytic import QuadraticDeep\n"
        "from regimen.benchmark import Problem\n\nclass Normed(Problem):\n    'A net with batch norm.'\n"
        "    name, num_epochs, num_parameters = 'normed', 1, 4\n"
        "    def read(self): return QuadraticDeep().read()\n"
        "    def make_net(self): return nn.Sequential(nn.BatchNorm1d(2))\n"
    )
    with pytest.raises(Refused, match=r"its layer 0 is a BatchNorm1d\. Give it make_tf_net"):
        regimen.run(quadratic(task="./normed.py"))


def test_describing_the_runners_imports_no_tensorflow() -> None:
    code = (
        "import sys, regimen.deepobs.tensorflow; from regimen.registry import plugins\n"
        "[plugin.settings() for plugin in plugins('benchmark')]; print('tensorflow' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
