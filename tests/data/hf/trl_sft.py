"""A strategy around TRL's SFTTrainer with its defaults (bf16 among them), LoRA with dropout, and accumulation."""

from peft import LoraConfig
from trl import SFTConfig, SFTTrainer


class TrlSft:
    name = "trl_sft"

    def prepare_model(self, model, config):
        return model

    def prepare_dataset(self, dataset, tokenizer, config):
        return dataset

    def create_trainer(self, model, train_dataset, eval_dataset, tokenizer, config, callbacks=None):
        arguments = SFTConfig(
            output_dir=config["output_dir"],
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            learning_rate=1e-2,
            max_length=24,
            train_sampling_strategy="group_by_length",
        )
        return SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=tokenizer,
            peft_config=LoraConfig(r=2, lora_dropout=0.3, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
