"""Strategies that show one thing each: a loss that is not finite, stages, trainers that are none of transformers."""

import torch
from transformers import Trainer, TrainingArguments


class Base:
    def prepare_dataset(self, dataset, tokenizer, config):
        def tokens(row):
            ids = tokenizer(row["text"], max_length=16, truncation=True, padding="max_length")["input_ids"]
            return {"input_ids": ids, "labels": ids}

        return dataset.map(tokens, remove_columns=dataset.column_names)

    def create_trainer(self, model, train_dataset, eval_dataset, tokenizer, config, callbacks=None):
        arguments = TrainingArguments(
            output_dir=config["output_dir"],
            per_device_train_batch_size=4,
            learning_rate=1e-2,
            num_train_epochs=2,
            lr_scheduler_type="linear",
            report_to=["tensorboard"] if config.get("report") else "none",
        )
        return self.Kind(model=model, args=arguments, train_dataset=train_dataset, eval_dataset=eval_dataset)

    Kind = Trainer


class Plain(Base):
    def prepare_model(self, model, config):
        return model


class NotFinite(Plain):
    class Kind(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, **more):
            made = super().compute_loss(model, inputs, return_outputs=return_outputs, **more)
            return made * float("nan") if model.training and self.state.global_step == 3 else made


class HugeGradient(Plain):
    class Kind(Trainer):
        def training_step(self, model, *rest):
            loss = super().training_step(model, *rest)
            if self.state.global_step == 3:
                next(p for p in model.parameters() if p.grad is not None).grad[0] = float("inf")
            return loss


class Stages(Plain):
    def prepare_dataset(self, dataset, tokenizer, config):
        made = super().prepare_dataset(dataset, tokenizer, config)
        half = len(made) // 2
        return [made.select(range(half)), made.select(range(half, len(made)))]


class OwnLoop(Plain):
    def create_trainer(self, model, train_dataset, eval_dataset, tokenizer, config, callbacks=None):
        class Loop:
            def train(self):
                optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
                for row in list(train_dataset)[:3]:
                    ids = torch.tensor([row["input_ids"]])
                    loss = model(input_ids=ids, labels=ids).loss
                    loss.backward()
                    optimizer.step()
                    optimizer.zero_grad()
                return {"train/loss": float(loss)}

        return Loop()


class TrainedAlready(OwnLoop):
    def create_trainer(self, model, *rest):
        super().create_trainer(model, *rest).train()
        return model


class Nothing(Plain):
    def create_trainer(self, *rest):
        return 7


class Distillation:
    """A class whose only setting is a parameter of its constructor, as the page's third example has it."""

    def __init__(self, teacher_model_id: str):
        self.teacher_model_id = teacher_model_id

    def prepare_model(self, model, config):
        self.teacher = self.teacher_model_id.upper()
        return model
