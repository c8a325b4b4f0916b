"""DeepOBS' runners for TensorFlow 2: `TFRunner` to write one's own, and the two that come with it.

They can be imported and subclassed without TensorFlow; a run raises `MissingExtra` that says how to get it.
"""

from __future__ import annotations

import os
from pathlib import Path

from regimen.benchmark.tf import runner as strategy
from regimen.benchmark.tf.framework import keras, made_repeatable
from regimen.benchmark.tf.optimizers import keras_optimizer_class
from regimen.benchmark.tf.testproblem import TFTestProblem
from regimen.deepobs.byhand import made_problem
from regimen.deepobs.description import import_name
from regimen.deepobs.loops import OwnLoops
from regimen.deepobs.runner import Runner
from regimen.handle import Run
from regimen.spec import RunSettings
from regimen.strategies.benchmark import tf_lr_schedule, tf_standard

__all__ = ["LearningRateScheduleRunner", "Runner", "StandardRunner", "TFRunner"]


class TFRunner(OwnLoops, Runner, strategy.TFRunner):
    """The base of runners on TensorFlow. A subclass gives `training`, which fills the output dictionary:

    >>> class MyRunner(TFRunner):
    ...     def training(self, testproblem, hyperparams, num_epochs, **training_params):
    ...         optimizer = self._optimizer_class(**hyperparams)
    ...         testproblem.train_init_op()
    ...         with tf.GradientTape() as tape:
    ...             loss, accuracy = testproblem.get_batch_loss_and_accuracy()
    ...         gradients = tape.gradient(loss, testproblem.net.trainable_variables)
    ...         optimizer.apply_gradients(zip(gradients, testproblem.net.trainable_variables))
    ...         return {"train_losses": [], "valid_losses": [], "test_losses": []}

    The learning rate is `learning_rate` in `hyperparams`, whether it was given so or as `lr`.
    """

    @staticmethod
    def find_optimizer(name: str) -> type:
        return keras_optimizer_class(name)

    @staticmethod
    def optimizer_setting(optimizer_class: type) -> str:
        name = optimizer_class.__name__
        own = getattr(keras().optimizers, name, None) is optimizer_class
        return name.lower() if own else import_name(optimizer_class)

    @staticmethod
    def create_testproblem(
        testproblem: str, batch_size: int | None, weight_decay: float | None, random_seed: int
    ) -> TFTestProblem:
        """A test problem that is set up, for use by hand; None means the problem's own. Nothing is recorded."""
        run = Run.unrecorded(Path(os.devnull), RunSettings(seed=random_seed))
        for note in made_repeatable(threads=1):
            run.note(note)
        made = TFTestProblem(made_problem(testproblem, batch_size, weight_decay), run)
        made.set_up()
        return made


class StandardRunner(TFRunner, tf_standard.TFStandardRunner):
    """Trains with fixed hyperparameters: the strategy `tf_standard` under DeepOBS' name."""

    name = ""
    is_facade_of = "tf_standard"
    training = tf_standard.TFStandardRunner.training


class LearningRateScheduleRunner(TFRunner, tf_lr_schedule.TFLearningRateScheduleRunner):
    """Multiplies the base rate by `lr_sched_factors` from `lr_sched_epochs` on: the strategy `tf_lr_schedule`."""

    name = ""
    is_facade_of = "tf_lr_schedule"
    training = tf_lr_schedule.TFLearningRateScheduleRunner.training
