"""The tiny random model that other trainers train in these tests."""

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from entropy_mech.problems.toy import character_tokenizer

TOKENIZER = character_tokenizer("0123456789+=")


def tiny_model():
    """Return a one-layer Qwen2 of random weights, the same at every call."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(TOKENIZER),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=TOKENIZER.pad_token_id,
        eos_token_id=TOKENIZER.eos_token_id,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config)
