"""`tiny`: a Llama of 0.9 million parameters and a tokenizer of bytes, made here, untrained; learns small tasks on a
laptop.
"""

from __future__ import annotations

from transformers import LlamaConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from regimen.finetune.tokens.template import PLAIN

TINY = "tiny"


def tiny_config() -> LlamaConfig:
    """Four layers of 128, a vocabulary of bytes, rows of up to 1,024 tokens."""
    return LlamaConfig(
        vocab_size=259,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=258,
        tie_word_embeddings=True,
    )


def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """One token a byte, so any text in any language; then begin, end and padding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)} | {"<s>": 256, "</s>": 257, "<pad>": 258}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = "{{ bos_token }}" + PLAIN
    return made
