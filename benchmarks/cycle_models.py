"""The models of ``cycle_vs_trl``: Qwen2, taught to end their responses at natural lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np

# About 1 M and 0.1 M parameters.
SIZES = {
    "1M": {"layers": 4, "hidden": 128, "intermediate": 512, "heads": 4, "kv_heads": 2},
    "0.1M": {"layers": 2, "hidden": 64, "intermediate": 192, "heads": 4, "kv_heads": 2},
}
ALPHABET = "0123456789+="
MEAN_LENGTH = 22  # the end has probability 1 / 22 at every token: about a third of 64 after the cut


def prompts(count: int) -> list[str]:
    """Return sums of two to five digits, as the toy problems are written."""
    rng = np.random.default_rng(0)
    return ["+".join(map(str, rng.integers(0, 10, rng.integers(2, 6)))) + "=" for _ in range(count)]


def save_model(folder: Path, size: str, *, steps: int = 100, rows: int = 24) -> None:
    """Train a model on digits that end at random, with a fixed chance a token, and save it."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from entropy_mech.problems.toy import character_tokenizer

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = character_tokenizer(ALPHABET)
    shape = SIZES[size]
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=shape["hidden"],
            intermediate_size=shape["intermediate"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["kv_heads"],
            initializer_range=0.08,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    rng = np.random.default_rng(1)
    texts = prompts(4096)
    for _ in range(steps):
        ids, labels = [], []
        for prompt in rng.choice(texts, rows):
            answer = "".join(map(str, rng.integers(0, 10, rng.geometric(1 / MEAN_LENGTH) - 1)))
            start = tokenizer(prompt)["input_ids"]
            end = [*tokenizer(answer)["input_ids"], tokenizer.eos_token_id][: 100 - len(start)]
            ids.append(torch.tensor([*start, *end]))
            labels.append(torch.tensor([-100] * len(start) + end))
        pad = torch.nn.utils.rnn.pad_sequence
        model(
            input_ids=pad(ids, batch_first=True),
            labels=pad(labels, batch_first=True, padding_value=-100),
        ).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
