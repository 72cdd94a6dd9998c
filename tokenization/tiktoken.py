"""OpenAI's published byte-level vocabularies, or a local file in tiktoken's format; the ranks are kept with the run.

Offline it works from tiktoken's cache: a folder named by TIKTOKEN_CACHE_DIR, each file under the SHA-1 of its address.
"""

from __future__ import annotations

import binascii
import hashlib
import os
import socket
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from bounds import NonNegativeInt
from commands import shell
from errors import RequestError
from tokenization.base import EOT
from tokenization.byte_bpe import ByteBPE
from tokenization.chat.specials import BOS
from tokenization.patterns import split_pattern
from tokenization.pickled_encoding import read_encoding

RANKS = "ranks.tiktoken"
HOST = "https://openaipublic.blob.core.windows.net/"
ENCODINGS = {  # tiktoken's names and the files that it reads (tiktoken_ext/openai_public.py)
    "gpt2": ("gpt-2/encodings/main/vocab.bpe", "gpt-2/encodings/main/encoder.json"),
    "r50k_base": ("encodings/r50k_base.tiktoken",),
    "p50k_base": ("encodings/p50k_base.tiktoken",),
    "cl100k_base": ("encodings/cl100k_base.tiktoken",),
    "o200k_base": ("encodings/o200k_base.tiktoken",),
}
TIMEOUT_S = 30.0  # tiktoken itself waits for ever


class TiktokenTokenizer(ByteBPE):
    """`name`: gpt2, r50k, p50k, cl100k, o200k, or a file. `pattern`, `special_ids`: for a file, which has neither.

    A file may also be nanochat's tokenizer.pkl, which brings pattern and specials along.
    Specials that the vocabulary has keep their ids (GPT-2's end of text is 50256), others follow after all ids.
    """

    kind: ClassVar[str] = "tiktoken"

    def __init__(
        self,
        *,
        name: str,
        pattern: str | None = None,
        special_ids: dict[str, NonNegativeInt] | None = None,
        specials: list[str] | None = None,
    ):
        """Raises RequestError if there is no such vocabulary, or it can be read neither from here nor from the net."""
        super().__init__(specials=specials)
        full = f"{name}_base" if f"{name}_base" in ENCODINGS else name
        if full in ENCODINGS:
            for key, given in (("pattern", pattern), ("special_ids", special_ids)):
                if given is not None:
                    raise RequestError(f"tokenizer.{key} is for a file of your own; tokenizer.name={name} has its own.")
            ranks, self.regex, self._own = published(full)
        elif name.endswith(".pkl"):
            ranks, self.regex, self._own = read_encoding(Path(name).expanduser())
            if EOT not in self._own and BOS in self._own:  # nanochat's texts begin with it, and so end the one before
                self._own = {EOT: self._own[BOS]} | self._own
        else:
            ranks, self._own = read_ranks(name), dict(special_ids or {})
            self.regex = split_pattern(pattern or "gpt4", 3)
        check_special_ids(self._own, ranks)
        self._n_own = max(*ranks.values(), *self._own.values()) + 1
        self._set(ranks, self.regex)
        self._file = write_ranks(ranks)
        self._sha256 = hashlib.sha256(self._file).hexdigest()

    @property
    def n_text_ids(self) -> int:
        return self._n_own

    @property
    def own_specials(self) -> dict[str, int]:
        return self._own

    def settings(self) -> dict[str, Any]:
        own = {"pattern": self.regex, "special_ids": self._own, "specials": self.special_names}
        return {**own, "sha256": self._sha256}

    def files(self) -> dict[str, bytes]:
        return {RANKS: self._file}

    @classmethod
    def from_state(cls, state: dict[str, Any], folder: Path) -> TiktokenTokenizer:
        """Raises RequestError if the ranks beside are not those that were saved."""
        keys = {key: state[key] for key in ("pattern", "special_ids", "specials")}
        tokenizer = cls(name=str(folder / RANKS), **keys)
        if tokenizer.settings()["sha256"] != state["sha256"]:
            raise RequestError(f"{folder / RANKS} was changed after it was saved. Take it from another run.")
        return tokenizer


def published(name: str) -> tuple[dict[bytes, int], str, dict[str, int]]:
    """Ranks, pattern and specials of a published vocabulary, from the cache or the net."""
    import tiktoken

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        found = tiktoken.get_encoding(name)
    except Exception as error:  # requests' own for the net, OSError for the cache, ValueError for a wrong hash
        raise RequestError(how_to_fetch(name, (str(error).splitlines() or [type(error).__name__])[0])) from None
    finally:
        socket.setdefaulttimeout(before)
    return found._mergeable_ranks, found._pat_str, found._special_tokens


def how_to_fetch(name: str, reason: str) -> str:
    """Which files are missing, and the commands that put them where tiktoken looks."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    where = Path(folder or Path(tempfile.gettempdir()) / "data-gym-cache")
    places = {HOST + path: where / hashlib.sha1((HOST + path).encode()).hexdigest() for path in ENCODINGS[name]}
    lines = [
        f"  {shell('curl', '-L', '--create-dirs', '-o', place, url)}"
        for url, place in places.items()
        if not place.is_file()
    ]
    set_first = "" if folder else "\n(Or fetch it anywhere once and set TIKTOKEN_CACHE_DIR to that folder.)"
    return (
        f"tokenizer.name={name}: not in tiktoken's cache {where}, and it could not be fetched: {reason}\n"
        "Without one, tokenizer=byte needs no file (a model of the same shape with a smaller embedding).\n"
        "With a connection, type:\n"
        + "\n".join(lines or [f"  {shell('rm', place)}" for place in places.values()])
        + set_first
    )


def read_ranks(name: str) -> dict[bytes, int]:
    """A file of lines "base64 rank". Raises RequestError where it is missing or something else."""
    path = Path(name).expanduser()
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        raise RequestError(
            f"tokenizer.name={name}: expected {', '.join(ENCODINGS)} or a file in tiktoken's format; no such file."
        ) from None
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            token, rank = line.split()
            ranks[binascii.a2b_base64(token, strict_mode=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise RequestError(
                f"{path}, line {number}: expected a token in base64 and its rank, found {line[:40]!r}."
                " It is no file of tiktoken's format."
            ) from None
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing or len(set(ranks.values())) != len(lines) or min(ranks.values()) < 0:
        problem = f"it lacks byte 0x{missing[0]:02x}" if missing else "a token or a rank stands in it twice"
        raise RequestError(f"{path}: {problem}; every byte must be a token, so that any text can be encoded.")
    return ranks


def write_ranks(ranks: dict[bytes, int]) -> bytes:
    order = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join([b"%s %d\n" % (binascii.b2a_base64(token, newline=False), rank) for token, rank in order])


def check_special_ids(own: dict[str, int], ranks: dict[bytes, int]) -> None:
    taken = set(ranks.values())
    if EOT in own and list(own.values()).count(own[EOT]) > 1:  # another name of the same
        own = {name: i for name, i in own.items() if name != EOT}
    for name, i in own.items():
        if i in taken or i < 0 or list(own.values()).count(i) > 1:
            raise RequestError(f"tokenizer.special_ids: {name!r} cannot have id {i}; it is taken, or negative.")
