"""Makes four tiny models with random weights, each with a tokenizer trained on made-up words: make_models.py FOLDER.

Runs with the Python of the engine's environment (transformers, tokenizers and torch are among its pins), needs no network, takes
seconds. Answers of such models are noise; their sizes, names and times are as real as anybody's.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertModel,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

# `vllm bench latency` draws its prompts from the first 10,000 tokens.
VOCABULARY = 10240
SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")
CHAT_TEMPLATE = "{% for message in messages %}<s>{{ message['role'] }}: {{ message['content'] }}</s>{% endfor %}<s>assistant: "
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 4096,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
    "dtype": "bfloat16",
}
# Three layers attend to a window, one to everything: their KV cache forms groups.
WINDOWED: dict[str, Any] = {
    "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
    "sliding_window": 512,
    "query_pre_attn_scalar": 32,
}

# What an encoder has in common with the others.
ENCODER_KEYS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("max_position_embeddings", "pad_token_id", "dtype"),
)


def main() -> int:
    """Write tiny-llama, tiny-qwen3, tiny-gemma3 and tiny-bert below the folder; exit status 2 without one."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: make_models.py FOLDER\n")
        return 2
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    tokens = tokenizer()
    made = {
        "tiny-llama": LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False)),
        "tiny-qwen3": Qwen3ForCausalLM(Qwen3Config(**SIZES, tie_word_embeddings=True)),
        "tiny-gemma3": Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, **WINDOWED)),
        "tiny-bert": BertModel(BertConfig(**{key: SIZES[key] for key in ENCODER_KEYS}), add_pooling_layer=False),
    }
    for name, model in made.items():
        model.to(torch.bfloat16).save_pretrained(folder / name)
        tokens.save_pretrained(folder / name)
    return 0


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of exactly VOCABULARY tokens."""
    trained = Tokenizer(models.BPE(unk_token=SPECIAL[0]))
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    trained.train_from_iterator(sentences(), trainer)
    if trained.get_vocab_size() != VOCABULARY:
        raise RuntimeError(f"the tokenizer has {trained.get_vocab_size()} tokens instead of {VOCABULARY}")
    return PreTrainedTokenizerFast(
        tokenizer_object=trained,
        unk_token=SPECIAL[0],
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[3],
        chat_template=CHAT_TEMPLATE,
    )


def sentences() -> list[str]:
    """Sentences of made-up words, the same on every run."""
    draw = random.Random(0)
    syllables = [first + second + third for first in "bdfghklmnprstvz" for second in "aeiou" for third in ("", "n", "r", "s", "t")]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(20_000)]
    return [" ".join(draw.choices(words, k=12)) for _ in range(10_000)]


if __name__ == "__main__":
    sys.exit(main())
