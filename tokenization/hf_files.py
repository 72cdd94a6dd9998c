"""Where a Hugging Face tokenizer's files come from: a local folder, or a repository of the Hub through its cache.

Whatever the folder holds, the result is one set of files with a `tokenizer.json` in the format of `tokenizers`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from errors import RequestError, panics_told
from strict_json import value_of

MAIN, GENERATION = "tokenizer.json", "generation_config.json"
MOMENT = "chat_template.moment"  # when a template that writes the date was first used: it stays with the run
# all that transformers reads for a tokenizer and what ends its model's texts, and nothing of the weights
PATTERNS = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template.*", "vocab*", "merges.txt"),
    GENERATION,
)
MODELS = ("*.model", "*.tiktoken")  # SentencePiece's and tiktoken's own


def read_files(name: str, revision: str | None) -> dict[str, bytes]:
    """{file name: contents} of the tokenizer that `tokenizer.name` means. Raises RequestError if there is none."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise RequestError(
                f"tokenizer.name={name}: no such folder.\nExpected a folder with {MAIN}, or a Hub id such as gpt2."
            )
        folder = fetch(name, revision)
    files = {p.name: p.read_bytes() for pattern in (*PATTERNS, *MODELS) for p in folder.glob(pattern) if p.is_file()}
    if MAIN not in files:
        files = {n: data for n, data in files.items() if n == GENERATION} | convert(folder, name)
    return files


def read_json(files: dict[str, bytes], file: str, name: str) -> dict[str, Any]:
    """One of the files as a JSON object, {} where it is missing. Raises RequestError where it is damaged."""
    try:
        found = value_of(files.get(file, b"{}"))
    except ValueError as error:
        raise RequestError(f"tokenizer.name={name}: {file} is damaged ({error}). Fetch it again.") from None
    if not isinstance(found, dict):
        raise RequestError(f"tokenizer.name={name}: {file} holds no JSON object. Fetch it again.")
    return found


def fetch(name: str, revision: str | None) -> Path:
    """The folder of a Hub repository's tokenizer files, out of the cache where it is there."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    where = f"tokenizer.name={name}" + (f" tokenizer.revision={revision}" if revision else "")
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=[*PATTERNS, *MODELS]))
    except errors.GatedRepoError:
        raise RequestError(
            f"{where}: the Hub gives this only to accounts that accepted its terms.\n"
            f"Accept them at https://huggingface.co/{name}, then type: hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        raise RequestError(
            f"{where}: neither a folder here nor a repository of the Hub (or a private one: type hf auth login)."
        ) from None
    except errors.RevisionNotFoundError:
        raise RequestError(f"{where}: the Hub has no such revision. Type a branch, a tag or a commit.") from None
    except errors.HFValidationError:
        raise RequestError(f"{where}: neither a folder here nor a possible Hub id (owner/name).") from None
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError) as error:
        raise RequestError(
            f"{where}: not in the cache, and the Hub cannot be reached ({str(error).splitlines()[0]}).\n"
            f"With a connection, type: hf download {name} --include 'tokenizer*' --include '*.model'"
            " --include 'vocab*' --include 'merges.txt'\nor give a local folder: tokenizer.name=<folder>"
        ) from None


def convert(folder: Path, name: str) -> dict[str, bytes]:
    """Files of an older format (vocab.json and merges.txt, tokenizer.model, ...), as transformers reads them."""
    from transformers import AutoTokenizer

    try:
        with panics_told(f"tokenizer.name={name}: tokenizers"):
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        with tempfile.TemporaryDirectory() as temporary:
            tokenizer.save_pretrained(temporary)
            files = {path.name: path.read_bytes() for path in Path(temporary).iterdir() if path.is_file()}
    except RequestError:
        raise
    except Exception as error:  # transformers raises whatever comes: OSError, ValueError, KeyError, TypeError, ...
        there = ", ".join(sorted(p.name for p in folder.iterdir())[:12]) or "nothing"
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RequestError(
            f"tokenizer.name={name}: holds no tokenizer that transformers can read ({reason}).\nIt holds: {there}."
        ) from None
    if MAIN not in files:
        raise RequestError(
            f"tokenizer.name={name}: {type(tokenizer).__name__} is written in Python and has no {MAIN}.\n"
            "Type tokenizer=byte if it is one of bytes (ByT5), or give a tokenizer with that file."
        )
    return files
