"""Encoder-decoders of transformers (T5, FLAN-T5, mT5, BART, Pegasus, ...) behind our forward signature.

A row stays one row of tokens. What stands before the answer's start token is the source, which the encoder reads both
ways; the start token and the answer go to the decoder; hidden states return to where their tokens stand:

    row       q  u  e  s  <start>  a  n  s        encoder   q  u  e  s
    targets   .  .  .  .     a     n  s </s>      decoder   <start>  a  n  s

The start token is the one whose target is the first that counts; where there are no targets (a prompt to be continued)
it is the newest token. Objectives, data, generation and evaluation stay as they are.

Shapes: B rows, T tokens of a row, S of the longest source, D of the longest answer, C channels.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from batch import Batch
from bounds import Below1, PositiveInt
from errors import RequestError
from models.base import LanguageModel, real_tokens
from models.hf import as_hf_cache, load_hf, showing_weights
from models.layers.cache import KVCache
from models.sources import extents, placed, shifted, source_lengths, widths

PROBE = 5  # tokens


class Seq2Seq(LanguageModel):
    """A wrapped encoder-decoder; `self.hf` is the original.

    Args:
        hf: a model of AutoModelForSeq2SeqLM. name: how messages call it. vocab_size: ids of the tokenizer.
        seq_len: longest row in tokens, source and answer together; when writing, the longest of each.

    Raises:
        RequestError: it has fewer positions, or its logits are not just head times hidden states.
    """

    serves = ("SFTModule", "SpanCorruptionModule")
    encodes_source = True

    def __init__(self, hf: Any, name: str, *, vocab_size: int, seq_len: int, checkpoint_blocks: bool):
        super().__init__()
        self.hf = hf
        rows = hf.get_input_embeddings().weight.shape[0]
        if vocab_size > rows:
            hf.resize_token_embeddings(vocab_size)
        self.vocab_size, self.n_ids = max(vocab_size, rows), vocab_size if vocab_size < rows else None
        self.n_layer = len(blocks_of(hf.get_decoder()))
        longest = getattr(hf.config, "max_position_embeddings", None)
        if longest is not None and seq_len > longest:
            raise RequestError(
                f"model.seq_len={seq_len}, but {name} has {longest} positions.\nType model.seq_len={longest}"
            )
        self.seq_len = seq_len
        self.scale = hf.config.d_model**-0.5 if getattr(hf.config, "scale_decoder_outputs", False) else 1.0
        # T5 was trained in bf16; its feed-forward layers pass what fp16 can hold
        self.overflows_fp16 = "t5" in hf.config.model_type
        if checkpoint_blocks:
            hf.gradient_checkpointing_enable({"use_reentrant": False})
        probe(self, name)

    @property
    def head(self) -> nn.Linear:
        return self.hf.get_output_embeddings()

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers of both sides, which FSDP gathers one by one."""
        return nn.ModuleList([*blocks_of(self.hf.get_encoder()), *blocks_of(self.hf.get_decoder())])

    @property
    def decoding(self) -> nn.Module:
        return nn.ModuleList([self.hf.get_decoder(), self.head])

    @property
    def attention_names(self) -> list[str]:
        """What each of `attention_weights` is of; where answers look at the source comes last."""
        encoder = [f"encoder layer {i}" for i in range(len(blocks_of(self.hf.get_encoder())))]
        decoder = [f"decoder layer {i}" for i in range(self.n_layer)]
        return [*encoder, *decoder, *(f"{name}, at the source" for name in decoder)]

    def attention_flops_per_token(self, seq_len: int) -> int:
        """Of half a row's tokens on either side; an answer's also look at the source."""
        return 12 * self.n_layer * self.head.weight.shape[1] * seq_len

    def inputs_of(self, micro: Batch) -> dict[str, Tensor]:
        """Where the source of each row ends, is said by its targets."""
        inputs = super().inputs_of(micro) | {"source_B": source_lengths(micro["targets"])}
        if (padding_BT := real_tokens(micro)) is not None:
            inputs["padding_BT"] = padding_BT
        return inputs

    def trunk(
        self,
        ids_BT: Tensor,
        *,
        documents_BT: Tensor | None = None,
        padding_BT: Tensor | None = None,
        cache: KVCache | None = None,
        weights: list[Tensor] | None = None,
        source_B: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Hidden states (B, T, C), zero at the source. With a cache, sources are read once and its answers go on.

        `weights` takes those of the encoder, of the decoder over the answer, of the decoder over the source: each layer
        (B, H, T, T), zero where that attention does not look.
        """
        if documents_BT is not None:
            raise RequestError(
                "an encoder-decoder reads one example a row: type data.batching=grouped, not packed rows."
            )
        if weights is not None and source_B is None:
            raise RequestError("attention of an encoder-decoder: where the source of each row ends must be said.")
        if cache is not None and cache.length:
            return self.decode(ids_BT, cache.carried["source"], cache.carried["source_real"], cache), {}
        first_B, length_B = extents(ids_BT, padding_BT)
        source_B = length_B - 1 if source_B is None else source_B
        S, D = widths(ids_BT, length_B, source_B)
        source_BS, source_real_BS = shifted(ids_BT, first_B, source_B.clamp_min(1), S)
        answer_BD, _ = shifted(ids_BT, first_B + source_B, length_B - source_B, D)  # causal: no mask for what follows
        encoded_BSC = self.hf.get_encoder()(input_ids=source_BS, attention_mask=source_real_BS.long())[0]
        if cache is not None:
            cache.carried |= {"source": encoded_BSC, "source_real": source_real_BS}
        hidden_BDC = self.decode(answer_BD, encoded_BSC, source_real_BS, cache)
        if weights is not None and source_B is not None:
            weights += self.looks(source_BS, answer_BD, source_real_BS, first_B, source_B, ids_BT.shape[1])
        at_BT = torch.arange(ids_BT.shape[1], device=ids_BT.device) - (first_B + source_B).unsqueeze(1)
        outside_BT = (at_BT < 0) | (at_BT >= D)
        index_BTC = at_BT.clamp(0, D - 1).unsqueeze(2).expand(-1, -1, hidden_BDC.shape[2])
        return hidden_BDC.gather(1, index_BTC).masked_fill(outside_BT.unsqueeze(2), 0), {}

    def looks(
        self,
        source_BS: Tensor,
        answer_BD: Tensor,
        real_BS: Tensor,
        first_B: Tensor,
        source_B: Tensor,
        T: int,
    ) -> list[Tensor]:
        """The attention weights of both sides where their tokens stand in the rows: (B, H, T, T) each."""
        with showing_weights(self.hf):
            out = self.hf(
                input_ids=source_BS,
                attention_mask=real_BS.long(),
                decoder_input_ids=answer_BD,
                output_attentions=True,
                use_cache=False,
            )
        starts_B = first_B + source_B
        kinds = (
            (out.encoder_attentions, first_B, first_B),
            (out.decoder_attentions, starts_B, starts_B),
            (out.cross_attentions, starts_B, first_B),
        )
        return [placed(w, rows_B, columns_B, T) for layers, rows_B, columns_B in kinds for w in layers]

    def decode(self, ids_BD: Tensor, encoded_BSC: Tensor, real_BS: Tensor, cache: KVCache | None) -> Tensor:
        """Hidden states (B, D, C) of the next tokens of each answer; `cache` holds the earlier ones."""
        theirs: Any = None if cache is None else as_encoder_decoder_cache(cache, self.n_layer, self.seq_len)
        out = self.hf.get_decoder()(
            input_ids=ids_BD,
            encoder_hidden_states=encoded_BSC,
            encoder_attention_mask=real_BS.long(),
            past_key_values=theirs,
            use_cache=cache is not None,
        )
        if cache is not None:
            for i, layer in enumerate(theirs.cross_attention_cache.layers):
                cache.carried[f"keys{i}"], cache.carried[f"values{i}"] = layer.keys, layer.values
            cache.length += ids_BD.shape[1]
        return out[0] if self.scale == 1 else out[0] * self.scale


class HFSeq2Seq(Seq2Seq):
    """Whatever AutoModelForSeq2SeqLM loads.

    Args:
        path: a folder or a Hub id. pretrained: with its weights, or the same architecture from random ones.
        attention: how transformers computes it (attn_implementation); null: its own choice.
        checkpoint_blocks: recompute each block in the backward pass.
    """

    def __init__(
        self,
        *,
        vocab_size: PositiveInt,
        path: str,
        pretrained: bool = True,
        seq_len: PositiveInt = 512,
        dropout: Below1 | None = None,
        attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None,
        checkpoint_blocks: bool = False,
    ):
        hf = load_hf(
            path,
            kind="AutoModelForSeq2SeqLM",
            words="an encoder-decoder",
            pretrained=pretrained,
            attention=attention,
            dropout=dropout,
        )
        name = f"model.path={path}"
        super().__init__(hf, name, vocab_size=vocab_size, seq_len=seq_len, checkpoint_blocks=checkpoint_blocks)


class T5(Seq2Seq):
    """A T5 from keys (Raffel et al. 2020, 1910.10683), with random weights.

    Args:
        n_layer: blocks on each side. n_inner: width of the feed-forward layer. gated: GEGLU as in v1.1, else ReLU.
        scaled: logits of width^-0.5 times the states, as in v1.0, where embedding and head are one matrix.
        buckets, max_distance: relative positions are told apart in so many classes, up to this distance.
    """

    def __init__(
        self,
        *,
        vocab_size: PositiveInt,
        n_layer: PositiveInt = 2,
        n_head: PositiveInt = 4,
        n_embd: PositiveInt = 128,
        n_inner: PositiveInt = 512,
        seq_len: PositiveInt = 128,
        gated: bool = False,
        scaled: bool = True,
        buckets: PositiveInt = 32,
        max_distance: PositiveInt = 128,
        dropout: Below1 = 0.0,
        checkpoint_blocks: bool = False,
    ):
        from transformers import T5Config, T5ForConditionalGeneration

        if n_embd % n_head:
            raise RequestError(f"model.n_embd={n_embd} is not divisible by model.n_head={n_head}.")
        config = T5Config(
            vocab_size=vocab_size,
            d_model=n_embd,
            d_kv=n_embd // n_head,
            d_ff=n_inner,
            num_layers=n_layer,
            num_heads=n_head,
            relative_attention_num_buckets=buckets,
            relative_attention_max_distance=max_distance,
            dropout_rate=dropout,
            feed_forward_proj="gated-gelu" if gated else "relu",
            scale_decoder_outputs=scaled,  # type: ignore[call-arg] # read by hand from its settings
        )
        hf = T5ForConditionalGeneration(config)
        super().__init__(hf, "model=t5", vocab_size=vocab_size, seq_len=seq_len, checkpoint_blocks=checkpoint_blocks)


def blocks_of(side: nn.Module) -> nn.ModuleList:
    """The layers of an encoder or a decoder."""
    return next(m for m in side.children() if isinstance(m, nn.ModuleList))


# ---- transformers' side --------------------------------------------------------------------------------------------


def as_encoder_decoder_cache(cache: KVCache, n_layer: int, capacity: int) -> Any:
    """Our cache as theirs; keys and values of the sources are those that it carries, if they were computed."""
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache

    cross = DynamicCache()
    if "keys0" in cache.carried:
        for i in range(n_layer):
            cross.update(cache.carried[f"keys{i}"], cache.carried[f"values{i}"], i)
    return EncoderDecoderCache(as_hf_cache(cache, n_layer, capacity), cross)


@torch.no_grad()
def probe(model: Seq2Seq, name: str) -> None:
    """Raises RequestError where head times hidden states are not the model's own logits."""
    weight = model.head.weight
    if weight.device.type == "meta" or type(weight) is not nn.Parameter or torch._guards.detect_fake_mode() is not None:
        return  # nothing to compute with
    was_training = model.training
    model.eval()
    ids = torch.arange(2 * PROBE, device=weight.device).remainder(model.vocab_size).unsqueeze(0)
    theirs = model.hf(input_ids=ids[:, :PROBE], decoder_input_ids=ids[:, PROBE:]).logits
    ours = model(ids, source_B=torch.full((1,), PROBE, device=weight.device), logits="all").logits[:, PROBE:]
    bound = 1e-3 * float(theirs.abs().max()) + 1e-5
    if getattr(model.head, "bias", None) is not None or float((ours - theirs).abs().max()) > bound:
        raise RequestError(
            f"{name}: {type(model.hf).__name__} does more with its logits than multiply by its head; the loss here "
            "would not be its own. Choose another model."
        )
    model.train(was_training)
