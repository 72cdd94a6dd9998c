"""Text by a schema against plain text: time per token, vocabulary of GPT-2's size (50,257), rows of one batch.

The model is four layers of 256 channels, so that masks weigh more than beside GPT-2's twelve of 768. The vocabulary is
made up: bytes, and random words of letters, digits and the signs of JSON.
"""

import time

import numpy as np
import torch

from models.generation import generate
from models.gpt import GPT
from models.sampling import Sampling
from tasks.guiding.grammar import Vocabulary
from tasks.trainer import settle_torch
from tokenization.byte_bpe import ByteBPE

VOCAB, ROWS, NEW, REPEATS = 50_257, (1, 8), 32, 3
SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 40},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "kind": {"enum": ["person", "place", "thing"]},
        },
        "required": ["name", "age", "kind"],
        "additionalProperties": False,
    },
    "minItems": 30,
    "maxItems": 40,
}


class MadeUp(ByteBPE):
    """Bytes and random words as tokens; the last id ends a text."""

    kind = "made up"

    def __init__(self) -> None:
        super().__init__()
        rng, signs = np.random.default_rng(0), list(' abcdefghijklmnopqrstuvwxyz0123456789{}[]":,')
        tokens = {bytes([byte]): byte for byte in range(256)}
        while len(tokens) < VOCAB - 1:
            word = "".join(rng.choice(signs, rng.integers(2, 9))).encode()
            tokens.setdefault(word, len(tokens))
        self._set(tokens, r"[\s\S]{1,8}")

    @property
    def n_text_ids(self) -> int:
        return VOCAB - 1

    def settings(self) -> dict:
        return {}


def main() -> None:
    settle_torch()
    torch.manual_seed(0)
    tokenizer = MadeUp()
    model = GPT(vocab_size=VOCAB, seq_len=256, n_layer=4, n_head=4, n_embd=256)
    start = time.perf_counter()
    vocabulary = Vocabulary(tokenizer, tokenizer.eot)
    built = time.perf_counter()
    guide = vocabulary.of_schema(SCHEMA)
    compiled_ms = 1e3 * (time.perf_counter() - built)
    print(f"\nvocabulary of {VOCAB:,} read in {built - start:.2f} s, schema in {compiled_ms:.1f} ms; "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    prompt = tokenizer.encode("a list: ").tolist()
    for rows in ROWS:
        ratios, plain_ms = [], []
        for repeat in range(REPEATS + 1):  # the first warms up
            plain, guided = (seconds(model, prompt, rows, repeat, how) for how in (None, guide))
            ratios.append(guided / plain)
            plain_ms.append(1e3 * plain)
        print(f"  {rows} row{'s' * (rows > 1)}: {np.median(plain_ms[1:]):.2f} ms a step without, "
              f"{np.median(ratios[1:]):.2f} x with (aim 1.3)")  # fmt: skip
    print()


def seconds(model: GPT, prompt: list[int], rows: int, seed: int, guide) -> float:
    """Per step, prefill included; all rows write to the end."""
    start = time.perf_counter()
    found = generate(model, [prompt], max_new_tokens=NEW, n=rows, seed=seed, sampling=Sampling(1.0), guide=guide)
    assert all(len(completion.ids) == NEW for completion in found[0])
    return (time.perf_counter() - start) / NEW


if __name__ == "__main__":
    main()
