"""config.json completed by transformers' own class, so that what it leaves out is what it means there.

Every key of the result is one that a family's table reads (families.py), or is listed here as without effect on the
logits, or is refused by its name: none is passed over in silence.
"""

import re
from typing import Any

from errors import RequestError

# what changes training, output formats, the ids of specials or where a file came from, never the logits
INERT = frozenset(
    [
        "transformers_version",
        "architectures",
        "model_type",
        "dtype",
        "torch_dtype",
        "output_hidden_states",
        "output_attentions",
        "return_dict",
        "use_cache",
        "chunk_size_feed_forward",
        "is_encoder_decoder",
        "problem_type",
        "id2label",
        "label2id",
        "num_labels",
        "_name_or_path",
        "auto_map",
        "initializer_range",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "pretraining_tp",
        "attention_dropout",
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "hidden_dropout",
        "output_router_logits",
        "router_aux_loss_coef",
        "router_jitter_noise",
        "task_specific_params",
        "finetuning_task",
        "tokenizer_class",
        "prefix",
        "language",
        "_attn_implementation",
        "_attn_implementation_autoset",
        "attn_implementation",
        "transformers.js_config",
        "cache_implementation",
        "gradient_checkpointing",
        "is_llama_config",
        "reorder_and_upcast_attn",
        "n_ctx",
        "summary_type",
        "summary_use_proj",
        "summary_activation",
        "summary_proj_to_labels",
        "summary_first_dropout",
        "sep_token_id",
        "decoder_start_token_id",
        "max_length",
        "min_length",
        "do_sample",
        "temperature",
        "top_p",
        "top_k",
        "num_beams",
        "repetition_penalty",
        "length_penalty",
        "no_repeat_ngram_size",
        "num_return_sequences",
        "suppress_tokens",
        "begin_suppress_tokens",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "exponential_decay_length_penalty",
        "encoder_no_repeat_ngram_size",
        "num_beam_groups",
        "diversity_penalty",
        "typical_p",
        "remove_invalid_values",
        "bad_words_ids",
        "early_stopping",
        "return_dict_in_generate",
        "output_scores",
        "use_bfloat16",
        "tf_legacy_loss",
        "torchscript",
    ]
)
INERT_ELSEWHERE = re.compile(r"unsloth_\w+|_commit_hash|_\w*_hash")
CONSUMED = ("rope_parameters", "rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor",
            "original_max_position_embeddings")  # fmt: skip


def completed(config: dict[str, Any], where: str) -> dict[str, Any]:
    """`config` as transformers' class of its model_type reads it: all keys, defaults in, older spellings renewed.

    Raises:
        RequestError: transformers refuses it.
    """
    from transformers import AutoConfig

    try:
        own = AutoConfig.for_model(**{key: value for key, value in config.items() if key != "transformers_version"})
        own.standardize_rope_params() if getattr(own, "rope_parameters", None) else None
        return dict(own.to_dict())
    except Exception as error:  # its validators raise a dozen kinds
        said = " ".join(str(error).split())[:400]
        raise RequestError(f"{where}: transformers refuses this config of {config['model_type']}: {said}") from error


def check_known(config: dict[str, Any], read: set[str], kind: str, where: str) -> None:
    """Raises RequestError for keys that say something and that nobody here reads."""
    strange = {
        key: value
        for key, value in config.items()
        if key not in read and key not in INERT and key not in CONSUMED and not INERT_ELSEWHERE.fullmatch(key)
        if value not in (None, False, "", [], {})
    }
    if strange:
        said = ", ".join(f"{key}={str(value)[:60]}" for key, value in strange.items())
        raise RequestError(
            f"{where}: {said}: our {kind} knows no such key, and would leave it out of account.\n"
            "As it is, it runs with: model=hf model.path=... Where it has no effect, take it out of config.json."
        )
