"""Any causal language model of transformers behind our forward signature, so that every objective can train it.

Its base model gives the hidden states, its head is ours to use: logits are made only where they are asked for. What an
architecture does after its head (a scale, a bias) would be lost that way, so a probe of a few tokens compares both ways
when the model is built, and refuses where they differ. The same probe finds out whether our cache serves it.

Shapes: B batch, T tokens, S tokens seen, C channels.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bounds import PositiveInt
from errors import RequestError
from models.base import LanguageModel, restarting_positions
from models.gpt import check_length
from models.layers.cache import KVCache, positions_of
from models.weights.told import told

PROBE = 5  # tokens


class HFModel(LanguageModel):
    """A wrapped model; `self.hf` is the original.

    Args:
        vocab_size: ids of the tokenizer; where the model has fewer rows, some are added, the mean of the old.
        path: a folder or a Hub id. pretrained: with its weights, or the same architecture from random ones.
        seq_len: longest context in tokens, at most what the model has positions for.
        attention: how transformers computes it (attn_implementation); null: its own choice.
        checkpoint_blocks: recompute each block in the backward pass.

    Raises:
        RequestError: it cannot be loaded, or its logits are not just head times hidden states.
    """

    def __init__(
        self,
        *,
        vocab_size: PositiveInt,
        path: str,
        pretrained: bool = True,
        seq_len: PositiveInt = 512,
        attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None,
        checkpoint_blocks: bool = False,
    ):
        super().__init__()
        self.hf = load_hf(
            path,
            kind="AutoModelForCausalLM",
            words="a causal language model",
            pretrained=pretrained,
            attention=attention,
        )
        config = self.hf.config.get_text_config()
        rows = self.hf.get_input_embeddings().weight.shape[0]
        if vocab_size > rows:
            self.hf.resize_token_embeddings(vocab_size)
        self.vocab_size = max(vocab_size, rows)
        self.n_ids = vocab_size if vocab_size < rows else None
        self.n_layer = config.num_hidden_layers
        longest = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
        if longest is not None and seq_len > longest:
            raise RequestError(
                f"model.seq_len={seq_len}, but {path} has {longest} positions.\nType model.seq_len={longest}"
            )
        self.seq_len = seq_len
        self.softcap = getattr(config, "final_logit_softcapping", None)
        if checkpoint_blocks:
            self.hf.gradient_checkpointing_enable({"use_reentrant": False})
        self.has_cache = probe(self, path)

    @property
    def head(self) -> nn.Linear:
        return self.hf.get_output_embeddings()

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers, which FSDP gathers one by one."""
        lists = (m for m in self.hf.modules() if isinstance(m, nn.ModuleList) and len(m) == self.n_layer)
        return next(lists)

    def attention_flops_per_token(self, seq_len: int) -> int:
        return 12 * self.n_layer * self.head.weight.shape[1] * seq_len

    def trunk(
        self,
        ids_BT: Tensor,
        *,
        documents_BT: Tensor | None = None,
        padding_BT: Tensor | None = None,
        cache: KVCache | None = None,
        weights: list[Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Documents are told by positions that start again, from which transformers makes the mask of packed texts."""
        T, start = ids_BT.shape[1], cache.length if cache is not None else 0
        check_length(T if padding_BT is not None else start + T, self.seq_len)
        if documents_BT is not None:
            if padding_BT is not None:
                documents_BT = documents_BT.masked_fill(~padding_BT, -1)
            positions, padding_BT = restarting_positions(documents_BT), None
        else:
            positions = positions_of(T, start, padding_BT, ids_BT.device).expand(len(ids_BT), -1)
        with nullcontext() if weights is None else showing_weights(self.hf):
            out = self.hf.base_model(
                input_ids=ids_BT,
                attention_mask=None if padding_BT is None else padding_BT.long(),
                position_ids=positions,
                past_key_values=None if cache is None else as_hf_cache(cache, self.n_layer, self.seq_len),
                use_cache=cache is not None,
                **({} if weights is None else {"output_attentions": True}),
            )
        if weights is not None:
            weights += attentions(out)
        if cache is not None:
            cache.length += T
        return out.last_hidden_state, {}


def load_hf(
    path: str, *, kind: str, words: str, pretrained: bool, attention: str | None, dropout: float | None = None
) -> Any:
    """The model of transformers, in fp32. Code that comes with a model is never run.

    Args:
        kind: the auto class that loads it; `words` say what that is. dropout: None leaves it as the model has it.
    """
    import transformers

    auto = getattr(transformers, kind)
    settings: dict[str, Any] = {} if attention is None else {"attn_implementation": attention}
    try:
        config = transformers.AutoConfig.from_pretrained(path)
        if dropout is not None:
            setattr(config, "dropout_rate" if hasattr(config, "dropout_rate") else "dropout", dropout)
        if pretrained:
            with told(f"loading {path}"):
                return auto.from_pretrained(path, config=config, dtype=torch.float32, **settings)
        return auto.from_config(config, **settings)
    except Exception as error:  # transformers raises what its parts raise: OSError, ValueError, SafetensorError, ...
        raise RequestError(
            f"model.path={path} cannot be loaded by transformers: {str(error).splitlines()[0]}\n"
            f"Expected a folder or a Hub id of {words} that needs no code of its own."
        ) from error


@contextmanager
def showing_weights(hf: Any) -> Iterator[None]:
    """Transformers shows attention weights only where it computes them eagerly.

    Said to each part that keeps settings of its own: transformers 5.17 does not pass it on to T5's two sides.
    """
    name = "_attn_implementation_internal"  # set through its property, a whole model's would overwrite its parts'
    configs = {id(part.config): part.config for part in hf.modules() if hasattr(getattr(part, "config", None), name)}
    before = {key: getattr(config, name) for key, config in configs.items()}
    for config in configs.values():
        setattr(config, name, "eager")
    try:
        yield
    finally:
        for key, config in configs.items():
            setattr(config, name, before[key])


def attentions(out: Any) -> list[Tensor]:
    """Of the layers that have any. Raises RequestError where none is shown."""
    found = [w for w in getattr(out, "attentions", None) or () if w is not None]
    if not found:
        raise RequestError(
            "this model of transformers shows no attention weights: it has no attention, or keeps it to itself."
        )
    return found


def save_wrapped(model: Any, folder: Path, *, special_ids: Mapping[str, Any]) -> str:
    """Writes the model that is wrapped as transformers does; returns its type.

    Args:
        model: an HFModel or a Seq2Seq, or a reward model on an HFModel, which is written as a sequence classifier
            with one output. special_ids: what ends a text and pads; a decoder keeps its own beside them.

    Raises:
        RequestError: transformers has no such classifier of this family.
    """
    if not hasattr(model, "backbone"):
        if special_ids:
            give_ids(model.hf, special_ids if model.encodes_source else beside_own(model.hf, special_ids))
        with told("writing weights", unit="files"):
            model.hf.save_pretrained(folder)
        return model.hf.config.model_type
    hf = model.backbone.hf
    classifier = as_classifier(hf, special_ids)
    getattr(classifier, classifier.base_model_prefix).load_state_dict(hf.base_model.state_dict())
    classifier.score.weight.data.copy_(model.score_head.weight)
    with told("writing weights", unit="files"):
        classifier.save_pretrained(folder)
    return hf.config.model_type


def give_ids(hf: Any, ids: Mapping[str, Any]) -> None:
    """What ends a text and the like, into both configs."""
    from transformers import GenerationConfig

    hf.config.update(dict(ids))
    # a new one: what was made from the config is made again, from the config of before
    own = hf.generation_config.to_dict() | dict(ids) | {"_from_model_config": False}
    hf.generation_config = GenerationConfig.from_dict(own)


def beside_own(hf: Any, ids: Mapping[str, Any]) -> dict[str, Any]:
    """The ids, and those that end a text of the model already; its own padding stays."""
    own = hf.generation_config
    new, before = (e if isinstance(e, list) else [e] for e in (ids["eos_token_id"], own.eos_token_id))
    ends = list(dict.fromkeys(i for i in [*new, *before] if i is not None))
    pad = ids["pad_token_id"] if own.pad_token_id is None else own.pad_token_id
    return {"eos_token_id": ends[0] if len(ends) == 1 else ends, "pad_token_id": pad}


def as_classifier(hf: Any, special_ids: Mapping[str, Any]) -> Any:
    """A sequence classifier with one output over a trunk like that of `hf`, with random weights."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    settings = hf.config.to_dict() | {"id2label": {0: "reward"}, "label2id": {"reward": 0}} | dict(special_ids)
    try:
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        classifier = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise RequestError(
            f"transformers has no sequence classifier of the family {hf.config.model_type}: this reward model cannot "
            "be exported."
        ) from error
    if not isinstance(getattr(classifier, "score", None), nn.Linear):
        raise RequestError(f"{type(classifier).__name__} has a head of another kind than ours: it cannot be exported.")
    return classifier


@torch.no_grad()
def probe(model: HFModel, path: str) -> bool:
    """Whether our cache gives what reading everything again gives.

    Raises:
        RequestError: head times hidden states are not the model's own logits.
    """
    weight = model.head.weight
    if weight.device.type == "meta" or type(weight) is not nn.Parameter or torch._guards.detect_fake_mode() is not None:
        return True  # nothing to compute with
    was_training = model.training
    model.eval()
    ids = torch.arange(PROBE, device=weight.device).unsqueeze(0)
    theirs = model.hf(input_ids=ids).logits
    ours = model(ids, logits="all").logits
    bound = 1e-3 * float(theirs.abs().max()) + 1e-5
    if getattr(model.head, "bias", None) is not None or float((ours - theirs).abs().max()) > bound:
        raise RequestError(
            f"model.path={path}: {type(model.hf).__name__} does more with its logits than multiply by its head; "
            "the loss here would not be its own. Choose another model."
        )
    same = False
    with suppress(Exception):  # an architecture without keys and values, or with a cache of its own kind
        cache = KVCache(model.n_layer, PROBE)
        model(ids[:, :-1], cache=cache)
        same = float((model(ids[:, -1:], cache=cache, logits="last").logits[:, -1] - ours[:, -1]).abs().max()) <= bound
    model.train(was_training)
    return same


def as_hf_cache(cache: KVCache, n_layer: int, capacity: int) -> Any:
    """Our cache, as transformers' models use theirs."""
    from transformers.cache_utils import Cache, CacheLayerMixin

    class Layer(CacheLayerMixin):
        is_sliding = False

        def __init__(self, index: int):
            super().__init__()
            self.index = index

        def lazy_initialization(self, *_: Any) -> None:
            self.is_initialized = True

        def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            return cache.append(self.index, key_states, value_states, capacity)

        def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
            return cache.length + query_length, 0

        def get_seq_length(self) -> int:
            return cache.length

        def get_max_length(self) -> int:
            return -1

    return Cache(layers=[Layer(i) for i in range(n_layer)])
