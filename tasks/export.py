"""task=export: a model as a folder that transformers loads: AutoModelForCausalLM (or Seq2SeqLM) and AutoTokenizer.

A reward model is loaded as AutoModelForSequenceClassification; its one logit is the score.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypedDict

from omegaconf import DictConfig, OmegaConf

from commands import run_py, word
from errors import RequestError
from launcher.jobs.run_folder import RunFolder
from models.base import LanguageModel
from models.boosting.ensemble import Boosted
from models.heads import RewardModel, Verifier
from models.hf import HFModel, save_wrapped
from models.seq2seq import T5, Seq2Seq
from models.weights.gguf import MODEL, Dtype, has_tokenizer, write_gguf
from models.weights.hub import check_repo, push
from models.weights.proving import prove, prove_gguf, whole_or_removed
from models.weights.saving import save_hf, settings_of
from tasks import parts
from tasks.serve import turns_of
from tokenization.base import Tokenizer
from tokenization.chat import ASSISTANT_START
from tokenization.exporting import hf_files
from tokenization.hf import HFTokenizer

# of the keys and sections that every config has (launcher/config/reads.py)
READS = ("weights", "objective", "data.template")


class Export(TypedDict):
    """The section `export`."""

    path: str | None
    family: str | None
    format: Literal["hf", "gguf"]
    dtype: Literal["f32", "f16", "q8_0"] | None
    push: str | None
    private: bool


def export(cfg: DictConfig, run: RunFolder) -> None:
    """Writes config.json, generation_config.json, model.safetensors and the tokenizer's files; prints where."""
    parts.needs_model(cfg, "task=export")
    folder = Path(cfg.export.path).expanduser() if cfg.export.path else run.path / "export"
    if folder.exists() and any(folder.iterdir()):
        raise RequestError(f"export.path={folder} is not empty. Give a new folder.")
    check_keys(cfg.export)
    tokenizer = parts.saved_tokenizer(cfg)
    model = parts.build_model(cfg, vocab_size=tokenizer.vocab_size)
    parts.load_start(model, cfg)
    if isinstance(model, Verifier):
        raise RequestError(
            "a verifier reads log-probabilities beside hidden states, which no model of transformers does.\n"
            "Its language model alone can be exported: type init_from=<the run that the verifier was started from>."
        )
    if isinstance(model, Boosted):
        model = model.merged()
    end = end_of_turn(cfg, tokenizer)
    ids = special_ids(tokenizer, end)
    if isinstance(model, RewardModel) and end in (None, tokenizer.eot):
        ids["pad_token_id"] = None  # the end of an answer is what pads: only a text alone is scored at its end (S19)
    counts = model.parameter_counts()  # before the proof, which gives the weights up and with them what is tied
    with whole_or_removed(folder):
        kind, difference, tokenizer_there = write(cfg, folder, model, tokenizer, ids)
        if cfg.export.format == "gguf":
            dtype: Dtype = cfg.export.dtype or "f32"
            write_gguf(folder, folder / MODEL, dtype=dtype)
            run.results["gguf_difference"] = prove_gguf(folder, dtype=dtype)
            (folder / "model.safetensors").unlink()
    run.results |= {"parameters": counts, "tokenizer_fingerprint": tokenizer.fingerprint}
    run.results["export_difference"] = difference
    print(f"{counts['total']:,} parameters as {kind} -> {folder}")
    say(cfg, run, model, folder, difference)
    if not tokenizer_there:
        print(
            f"without a tokenizer: tokenizer={tokenizer.kind} with normalisation, merged blanks or without byte "
            "fallback cannot be written as tokenizer.json; its own files are in the run folder's tokenizer/"
        )


def check_keys(section: DictConfig) -> None:
    """Raises RequestError for a key that would change nothing, and for no repository's name."""
    if section.dtype is not None and section.format != "gguf":
        raise RequestError(
            f"export.dtype={section.dtype} is for export.format=gguf; else weights keep their type.\n"
            "Type export.format=gguf, or leave export.dtype out."
        )
    if section.push is not None:
        check_repo(section.push)
    elif not section.private:
        raise RequestError("export.private=false is for what is uploaded: type export.push=OWNER/NAME too.")


def write(
    cfg: DictConfig, folder: Path, model: LanguageModel, tokenizer: Tokenizer, ids: dict[str, Any]
) -> tuple[str, float, bool]:
    """The family's name, by how much logits differ there at most, and whether the tokenizer could be written too."""
    network = model.backbone if isinstance(model, RewardModel) else model
    if isinstance(network, HFModel | Seq2Seq):
        if cfg.export.family not in (None, network.hf.config.model_type):
            raise RequestError(
                f"export.family={cfg.export.family}: a model of transformers stays what it is, "
                f"{network.hf.config.model_type}.\nLeave export.family out."
            )
        wrapped = answer_ids(tokenizer, ids, own=isinstance(model, T5)) if isinstance(model, Seq2Seq) else ids
        kind = save_wrapped(model, folder, special_ids=wrapped)
    else:
        section: Any = OmegaConf.to_container(cfg.model, resolve=True)
        kind = save_hf(model, settings_of(network, section), folder, special_ids=ids, family=cfg.export.family)
    difference = prove(model, folder)
    files = hf_files(tokenizer, seq_len=model.seq_len)
    for name, content in (files or {}).items():
        (folder / name).write_bytes(content)
    return kind, difference, files is not None


def say(cfg: DictConfig, run: RunFolder, model: LanguageModel, folder: Path, difference: float) -> None:
    """What was proved, uploads the folder where that was asked, and says what to type next."""
    print(
        f"  checked    loaded with transformers: {'scores' if isinstance(model, RewardModel) else 'logits'} differ by "
        f"{difference:.1g} at most"
    )
    if cfg.export.format == "gguf":
        size, apart = (folder / MODEL).stat().st_size / 1e6, run.results["gguf_difference"]
        print(
            f"  as gguf    {cfg.export.dtype or 'f32'}, {size:,.1f} MB; "
            f"logits differ from fp32's by {apart:.1g} at most"
        )
        if not has_tokenizer(folder):
            print("  tokenizer  beside the file, not in it: GGUF has words for byte-level BPE with GPT-2's splitting")
    if cfg.export.push is not None:
        print(f"  uploaded   {push(folder, cfg.export.push, private=cfg.export.private)}")
    if isinstance(model, RewardModel):
        print(
            f"  load it    AutoModelForSequenceClassification.from_pretrained({str(folder)!r}): the logit is the score"
        )
        return
    if cfg.export.format == "gguf":
        print(f"  load it    llama-cli -m {word(folder / MODEL)}")
        return
    if isinstance(model, Seq2Seq):
        print(f"  load it    AutoModelForSeq2SeqLM.from_pretrained({str(folder)!r})")
        print(f"  go on      {run_py('model=hf_seq2seq', f'model.path={folder}', 'objective=sft')}")
        return
    print(f"  load it    AutoModelForCausalLM.from_pretrained({str(folder)!r})")
    print(f"  go on      {run_py(f'init_from={folder}')}")


def end_of_turn(cfg: DictConfig, tokenizer: Tokenizer) -> int | None:
    """The id that ends an answer in the template that was trained with; None without conversations."""
    with suppress(RequestError):  # a template that no conversation fits: nothing was trained with it
        turns, _ = turns_of(cfg, tokenizer)
        return None if turns is None else turns.end
    return None


def special_ids(tokenizer: Tokenizer, end: int | None) -> dict[str, Any]:
    """What ends a text: the end of a document, of a turn, and what ended one of the model that was started from."""
    started = tokenizer.ends() if isinstance(tokenizer, HFTokenizer) else []
    ends = list(dict.fromkeys([tokenizer.eot, *([] if end is None else [end]), *started]))
    return {"eos_token_id": ends[0] if len(ends) == 1 else ends, "pad_token_id": tokenizer.eot}


def answer_ids(tokenizer: Tokenizer, ids: dict[str, Any], *, own: bool) -> dict[str, Any]:
    """What starts and ends the answers of an encoder-decoder; {} leaves somebody else's model with its own."""
    if ASSISTANT_START in tokenizer.specials:
        return ids | {"decoder_start_token_id": tokenizer.specials[ASSISTANT_START]}
    return ids | {"decoder_start_token_id": tokenizer.eot} if own else {}
