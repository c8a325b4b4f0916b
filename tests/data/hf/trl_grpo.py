"""A strategy around TRL's GRPOTrainer: each generated batch is used for two passes of two steps."""

from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer


def short(completions, **more):
    return [-float(len(text)) for text in completions]


class TrlGrpo:
    name = "trl_grpo"

    def prepare_model(self, model, config):
        return model

    def prepare_dataset(self, dataset, tokenizer, config):
        return dataset.rename_column("text", "prompt")

    def create_trainer(self, model, train_dataset, eval_dataset, tokenizer, config, callbacks=None):
        arguments = GRPOConfig(
            output_dir=config["output_dir"],
            per_device_train_batch_size=4,
            gradient_accumulation_steps=1,
            steps_per_generation=2,
            num_iterations=2,
            num_generations=4,
            max_completion_length=6,
            learning_rate=1e-2,
            beta=0.0,
        )
        return GRPOTrainer(
            model=model,
            reward_funcs=short,
            args=arguments,
            train_dataset=train_dataset,
            processing_class=tokenizer,
            peft_config=LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
