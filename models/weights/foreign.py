"""What `init_from` names when it is no run of ours: a Hugging Face folder, a Hub id, a nanochat checkpoint.

Read before anything heavy is imported: the launcher takes the model and tokenizer sections from here.
"""

from pathlib import Path
from typing import Any

from errors import RequestError
from models.weights import families, nanochat
from models.weights.sections import model_section

CONFIGS = ["*.json", "*.txt", "*.model", "*.jinja"]
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("tokenizer.model",))  # new and older forms
WEIGHTS = ["*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json"]


def sections(source: str) -> dict[str, Any]:
    """{"name", "model", "tokenizer"} of a foreign source, the latter two as sections of a config; {} for a run of ours.

    Raises:
        RequestError: a family that we do not know, or a damaged config.
    """
    if nanochat.is_checkpoint(source):
        found: dict[str, Any] = {"name": "nanochat", "model": nanochat.model_section(source)}
        if pickled := nanochat.tokenizer_file(source):
            found["tokenizer"] = {"_target_": "tokenization.tiktoken.TiktokenTokenizer", "name": str(pickled)}
        return found
    folder = local_folder(source, CONFIGS)
    if folder is None:
        return {}
    found = {
        "name": families.read_config(folder)["model_type"],
        "model": model_section(folder),
    }
    if any(all((folder / file).is_file() for file in files) for files in TOKENIZERS):
        found["tokenizer"] = {"_target_": "tokenization.hf.HFTokenizer", "name": source}
    return found


def vocab_size(source: str) -> int | None:
    """Rows of a foreign source's embedding; None for a run of ours."""
    if nanochat.is_checkpoint(source):
        return nanochat.vocab_size(source)
    folder = local_folder(source, CONFIGS)
    return None if folder is None else families.vocab_size_of(folder)


def local_folder(source: str, patterns: list[str]) -> Path | None:
    """The Hugging Face folder that is meant, fetched from the Hub if need be; None if it is none of these."""
    path = Path(source).expanduser()
    if path.exists():
        return path if path.is_dir() and (path / "config.json").is_file() else None
    return fetch(source, patterns)


def fetch(name: str, patterns: list[str]) -> Path:
    """A model of the Hub in the local cache, downloaded if it is not there yet. Raises RequestError if it cannot be."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise RequestError(f"{name}: neither a folder here nor a model on the Hub that can be read.") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise RequestError(
            f"{name}: not in the local cache, and the Hub cannot be reached ({str(error).splitlines()[0]}).\n"
            "Fetch it where there is a network, and give its folder: init_from=FOLDER"
        ) from error
