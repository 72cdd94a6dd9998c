"""A tiny random Llama of transformers behind our model's face, and a tokenizer that needs no download."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from models.base import LanguageModel

VOCAB = 40


def llama(*, vocab_size: int = VOCAB, width: int = 16, layers: int = 2, **settings: Any) -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, tie_word_embeddings=False, initializer_range=0.3, **settings,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def tokenizer(vocab_size: int = VOCAB) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {name: i for i, name in enumerate(["<pad>", "<s>", "</s>", *(f"w{i}" for i in range(3, vocab_size))])}
    plain = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<pad>"
    )


class Wrapped(LanguageModel):
    """Just enough of a face for losses."""

    def __init__(self, inner: LlamaForCausalLM):
        super().__init__()
        self.inner = inner
        self.vocab_size, self.seq_len = inner.config.vocab_size, inner.config.max_position_embeddings
        self.n_layer = inner.config.num_hidden_layers

    @property
    def head(self) -> nn.Linear:
        return self.inner.lm_head

    def trunk(self, ids_BT: Tensor, *, padding_BT: Tensor | None = None, **_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        mask = None if padding_BT is None else padding_BT.long()
        return self.inner.model(ids_BT, attention_mask=mask, use_cache=False).last_hidden_state, {}

    def attention_flops_per_token(self, seq_len: int) -> int:
        return 0
