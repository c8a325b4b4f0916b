"""The file of a new runner: a complete training loop to adapt."""

RUNNER = '''"""{Title}: say in one sentence how this runner trains.

It is a script (`python {name}.py quadratic_deep --lr 0.01 --num_epochs 10`; `--help` lists the flags) and a strategy of
`regimen run` (`strategy: {{name: {name}, optimizer: {{name: sgd, lr: 0.01}}}}`).
"""

from typing import Annotated, Any

import torch
from pydantic import Field

from regimen.deepobs import PTRunner


class {Class}(PTRunner):
    """Trains as the standard runner does, with clipped gradients if asked; put your idea here."""

    name = "{name}"

    # A training parameter: a flag of the script, a setting of `regimen run`, a part of the folder's name. What the
    # optimizer takes are hyperparameters; they are named at the end of this file.
    clip_norm: Annotated[float | None, Field(gt=0, description="largest norm of a gradient; unset: not clipped")] = None

    def training(
        self,
        testproblem: Any,
        hyperparams: dict[str, Any],
        num_epochs: int,
        train_log_interval: int = 10,
        clip_norm: float | None = None,
        **training_params: Any,
    ) -> dict[str, list[float]]:
        optimizer = self.make_optimizer(testproblem, hyperparams)
        parameters = list(testproblem.net.parameters())
        train_losses, valid_losses, test_losses = [], [], []
        train_accuracies, valid_accuracies, test_accuracies = [], [], []
        minibatch_train_losses = []
        for epoch in range(num_epochs + 1):
            # Before the first epoch and after each one: N epochs leave N + 1 numbers.
            self.evaluate_all(
                epoch,
                num_epochs,
                testproblem,
                train_losses,
                valid_losses,
                test_losses,
                train_accuracies,
                valid_accuracies,
                test_accuracies,
            )
            if epoch == num_epochs:
                break
            testproblem.train_init_op()
            step = 0
            while True:
                try:
                    # With return_forward_func=True this gives ((loss, accuracy), forward), and forward() evaluates the
                    # same batch again, after an update for instance. The loss includes the problem's penalty, whose
                    # parameters are in testproblem.regularization_groups.
                    loss, _ = testproblem.get_batch_loss_and_accuracy()
                except StopIteration:  # the end of the epoch
                    break
                optimizer.zero_grad()
                loss.backward()
                if clip_norm is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
                optimizer.step()
                if step % train_log_interval == 0:
                    minibatch_train_losses.append(loss.item())
                step += 1
        return {{
            "train_losses": train_losses,
            "valid_losses": valid_losses,
            "test_losses": test_losses,
            "train_accuracies": train_accuracies,
            "valid_accuracies": valid_accuracies,
            "test_accuracies": test_accuracies,
            "minibatch_train_losses": minibatch_train_losses,
        }}


if __name__ == "__main__":
    hyperparameters = {{"lr": {{"type": float}}, "momentum": {{"type": float, "default": 0.0}}}}
    {Class}(torch.optim.SGD, hyperparameters).run()
'''
