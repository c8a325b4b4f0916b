"""A strategy around transformers' own Trainer, with dropout and accumulation, and items that are random."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments


class Noisy(torch.utils.data.Dataset):
    """Drops tokens at random while a row is read."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        ids = torch.tensor(self.rows[index]["input_ids"])
        ids = torch.where(torch.rand(len(ids)) < 0.2, torch.randint(5, 40, (len(ids),)), ids)
        return {"input_ids": ids, "labels": ids.clone()}


class PlainTrainer:
    name = "plain_trainer"

    def get_required_dataset_fields(self):
        return ["text"]

    def prepare_model(self, model, config):
        return get_peft_model(model, LoraConfig(r=2, lora_dropout=0.3, target_modules="all-linear"))

    def prepare_dataset(self, dataset, tokenizer, config):
        def tokens(row):
            made = tokenizer(row["text"], max_length=16, truncation=True, padding="max_length")
            return {"input_ids": made["input_ids"], "labels": made["input_ids"]}

        return dataset.map(tokens, remove_columns=dataset.column_names)

    def create_trainer(self, model, train_dataset, eval_dataset, tokenizer, config, callbacks=None):
        arguments = TrainingArguments(
            output_dir=config["output_dir"],
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            learning_rate=1e-2,
            lr_scheduler_type="linear",
            dataloader_num_workers=config.get("loader_workers", 0),
            logging_steps=5,
            save_strategy="steps",
            save_steps=1,
            bf16=True,
        )
        return Trainer(model=model, args=arguments, train_dataset=Noisy(train_dataset), eval_dataset=eval_dataset)
