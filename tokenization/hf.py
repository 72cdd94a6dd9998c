"""Any tokenizer of the Hugging Face Hub or of a local folder; its files are kept with the run.

Read straight from `tokenizer.json`, so neither torch nor transformers is imported. Two things differ from transformers:
- text never makes a control token, here: any special token, and any other added token that the chat template writes;
- no bos or eos is put around a text: the data ends documents with `eot`, the model's end of sequence.

Exact for byte-level vocabularies (GPT-2, Llama 3, Qwen, ...). Others may normalise text (BERT lowers it, T5 joins
blanks): then `decode(encode(text))` differs, and `token_bytes` counts the bytes of the tokens, not those of the text.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from errors import RequestError, panics_told
from tokenization.base import EOT, Tokenizer, digest, utf8
from tokenization.hf_files import GENERATION, MAIN, MOMENT, read_files, read_json
from tokenization.hf_vocabulary import (
    bytes_of_pieces,
    control_tokens,
    is_byte_level,
    unknown_token,
    unreachable,
    vocabulary,
)

FOLDER = "hf"  # beside our own tokenizer.json, which would otherwise carry the same name
ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")

CUTS = [("One two", " three"), ("one", "\n\nTwo"), ("one.\n", "Two three"), ("a1", "\r\n b"), ("(one)\n", "2")]

DECISIVE = ("added_tokens", "normalizer", "pre_tokenizer", "model")  # the parts of tokenizer.json that decide ids


class HFTokenizer(Tokenizer):
    """`name`: a folder or a Hub id. `eot`: the token that ends a document, by default the tokenizer's eos_token.

    `chat_template`: its Jinja text, or None; `roles`: {"bos_token": "<s>", ...}, the names that template may use;
    `moment`: the date and time that it may write.
    """

    kind: ClassVar[str] = "hf"

    def __init__(
        self,
        *,
        name: str,
        revision: str | None = None,
        eot: str | None = None,
        specials: list[str] | None = None,
        saved: bool = False,
    ):
        """`saved`: `name` is a folder that a run wrote, whose file lacks just the specials that were added last.

        Raises RequestError if there is no such tokenizer, it is damaged, or it has no token called `eot`.
        """
        super().__init__(specials=specials, brings_eot=True)
        self.name, self._files = name, read_files(name, revision)
        try:
            self._read(name, eot, saved=saved)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:  # whatever stands there instead
            raise RequestError(
                f"tokenizer.name={name}: {MAIN} is not as tokenizers writes it ({type(error).__name__}:"
                f" {error!s:.200}). Fetch it again."
            ) from None

    def _read(self, name: str, eot: str | None, *, saved: bool) -> None:
        self._json = self._read_main()
        config = read_json(self._files, "tokenizer_config.json", name)
        self.roles = named_roles(config, read_json(self._files, "special_tokens_map.json", name))
        self.chat_template = chat_template(self._files, config)
        self.moment = self._find_moment(saved=saved)
        bos = self.roles.get("bos_token")
        added = config.get("add_bos_token", bos is not None and first_token(self._json.get("post_processor")) == bos)
        self.begins = bos if added else None
        self._eot = self._find_eot(eot)
        self._add([] if saved else self.special_names)
        self._own = control_tokens(
            self._json, self.chat_template, {*self.roles.values(), *self.special_names, self._eot}
        )
        self._own = {EOT: self._own[self._eot]} | self._own  # that name always works; the true one is what is shown
        self._vocabulary = vocabulary(self._json)
        self._start()

    def _read_main(self) -> dict[str, Any]:
        found = read_json(self._files, MAIN, self.name)
        if "kind" in found:
            raise RequestError(
                f"tokenizer.name={self.name}: this {MAIN} is a {found['kind']} tokenizer of this program.\n"
                "Type init_from=<the run folder> to go on with it."
            )
        if not isinstance(found.get("model"), dict) or "vocab" not in found["model"]:
            raise RequestError(f"tokenizer.name={self.name}: {MAIN} has no vocabulary: not a Hugging Face tokenizer.")
        return found

    def _find_moment(self, *, saved: bool) -> datetime:
        """Now, or when the run began that the files are of: its template goes on to render as it did.

        Runs of earlier versions do not say it; their files were written then.
        """
        if "strftime_now" not in (self.chat_template or ""):
            return datetime.now()
        if MOMENT not in self._files:
            written = (Path(self.name) / MAIN).stat().st_mtime if saved else time.time()
            self._files[MOMENT] = datetime.fromtimestamp(written).isoformat(timespec="seconds").encode("ascii")
        try:
            return datetime.fromisoformat(self._files[MOMENT].decode("ascii").strip())
        except ValueError:
            raise RequestError(
                f"tokenizer.name={self.name}: {MOMENT} holds {self._files[MOMENT][:40]!r}; expected a date and"
                " time such as 2026-11-28T09:30:00."
            ) from None

    def _find_eot(self, eot: str | None) -> str:
        """The name of the token that ends a document; added where the vocabulary has none."""
        known = vocabulary(self._json)
        if eot is not None and eot not in known and eot not in self.special_names:
            names = [entry["content"] for entry in self._json.get("added_tokens", []) if entry.get("special")]
            raise RequestError(
                f"tokenizer.eot={eot}: {self.name} has no such token; its specials are: {', '.join(names) or 'none'}."
            )
        eos = self.roles.get("eos_token")
        return eot or (eos if eos in known else None) or EOT

    def _add(self, names: list[str]) -> None:
        """Write into tokenizer.json what it lacks, after all other ids (N16)."""
        known = vocabulary(self._json)
        wanted = [name for name in names if name != EOT or self._eot == EOT]
        added = [name for name in dict.fromkeys([*wanted, self._eot]) if name not in known]
        first = max(known.values(), default=-1) + 1
        self._json = with_added(self._json, {name: first + i for i, name in enumerate(added)})
        if added:
            self._files[MAIN] = json.dumps(self._json, ensure_ascii=False).encode("utf-8")

    def _start(self) -> None:
        from tokenizers import Tokenizer as Backend

        try:
            self._backend = Backend.from_str(json.dumps(unreachable(self._json, set(self._own.values()))))
        except Exception as error:  # tokenizers raises bare Exception
            raise RequestError(
                f"tokenizer.name={self.name}: {MAIN} cannot be read ({error}). Fetch it again."
            ) from None
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True
        self._pieces = bytes_of_pieces(self._json, self.n_text_ids)
        self._sha256 = digest({key: self._json.get(key) for key in DECISIVE})

    # Tokenizer ----------------------------------------------------------------------------------------------------

    @property
    def n_text_ids(self) -> int:
        return max(self._vocabulary.values()) + 1

    @property
    def own_specials(self) -> dict[str, int]:
        return self._own

    @property
    def eot(self) -> int:
        return self._own[self._eot]

    def with_names(self, new: Sequence[str]) -> HFTokenizer:
        """A name that its vocabulary holds as text becomes control, with the id that it has."""
        larger = cast(HFTokenizer, super().with_names(new))
        if there := {name: self._vocabulary[name] for name in new if name in self._vocabulary}:
            larger._own = self._own | there
            larger._start()
        return larger

    def encode(self, text: str) -> np.ndarray:
        return self._encode([text])[0]

    def encode_batch(self, texts: Sequence[str], *, threads: int = 1) -> list[np.ndarray]:
        if threads == 1:
            return [self.encode(text) for text in texts]
        return self._encode(texts)  # with as many threads as TOKENIZERS_PARALLELISM and RAYON_NUM_THREADS allow

    def _encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        clean = [utf8(text).decode("utf-8") for text in texts]
        with panics_told(f"tokenizer.name={self.name}: tokenizers"):
            found = self._backend.encode_batch_fast(clean, add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int64) for encoding in found]

    @cached_property
    def whole_documents(self) -> bool:
        """Found by trying: some put a blank in front of whatever they get, or join what lies around a line's end."""
        return any(
            self.encode(left + right).tolist() != [*self.encode(left), *self.encode(right)] for left, right in CUTS
        )

    def _decode_text(self, ids: np.ndarray) -> str:
        if is_byte_level(self._json):
            return b"".join([self._pieces[i] for i in ids.tolist()]).decode("utf-8", errors="replace")
        with panics_told(f"tokenizer.name={self.name}: tokenizers"):
            return self._backend.decode(ids.tolist(), skip_special_tokens=False)

    def _pieces_of_text(self) -> list[bytes | None]:
        unknown = self._vocabulary.get(unknown_token(self._json) or "")
        return [None if i == unknown else piece for i, piece in enumerate(self._pieces)]

    def token_bytes(self) -> np.ndarray:
        sizes = np.zeros(self.vocab_size, dtype=np.int64)  # (vocab_size,), specials that were added included
        sizes[: len(self._pieces)] = [len(piece) for piece in self._pieces]
        sizes[list(self._own.values())] = 0
        return sizes

    def settings(self) -> dict[str, Any]:
        """The hash stands for the files: equal wherever they came from."""
        return {"specials": self.special_names, "eot": self._eot, "sha256": self._sha256}

    def files(self) -> dict[str, bytes]:
        """As they were read: specials that were added later stand in the state."""
        return {f"{FOLDER}/{name}": data for name, data in self._files.items()}

    def whole_files(self) -> dict[str, bytes]:
        """{name: contents} for transformers, with all specials in them."""
        later = {name: i for name, i in self.specials.items() if i >= self.n_text_ids}
        main = json.dumps(with_added(self._json, later), ensure_ascii=False).encode("utf-8")
        # those of the model and of the run stay behind
        files = {name: data for name, data in self._files.items() if name not in (GENERATION, MOMENT)}
        return files | ({MAIN: main} if later else {})

    def ends(self) -> list[int]:
        """Ids that end a text of the model which it came with. Raises RequestError where its file is damaged."""
        given = read_json(self._files, GENERATION, self.name).get("eos_token_id")
        ids = given if isinstance(given, list) else [given] if given is not None else []
        if wrong := [i for i in ids if type(i) is not int or not 0 <= i < self.vocab_size]:
            raise RequestError(
                f"tokenizer.name={self.name}: {GENERATION} ends texts with {wrong[0]!r:.40}; expected ids below "
                f"{self.vocab_size}.\nMend eos_token_id there."
            )
        return ids

    @classmethod
    def from_state(cls, state: dict[str, Any], folder: Path) -> HFTokenizer:
        """Raises RequestError if the files beside are not those that were saved."""
        if not (folder / FOLDER).is_dir():
            raise RequestError(f"{folder / FOLDER} is missing: it holds the tokenizer's own files.")
        tokenizer = cls(name=str(folder / FOLDER), eot=state["eot"], specials=state["specials"], saved=True)
        if tokenizer.settings()["sha256"] != state["sha256"]:
            raise RequestError(f"{folder / FOLDER / MAIN} was changed after it was saved. Take it from another run.")
        return tokenizer


def with_added(found: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    """The contents of a tokenizer.json with these control tokens too."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    entries = [{"id": i, "content": name, **flags} for name, i in ids.items()]
    return {**found, "added_tokens": [*found.get("added_tokens", []), *entries]}


def first_token(post_processor: Any) -> str | None:
    """The token that tokenizers puts before a text."""
    if not isinstance(post_processor, dict):
        return None
    if post_processor.get("type") == "Sequence":
        return next(filter(None, map(first_token, post_processor["processors"])), None)
    pieces = post_processor.get("single") if post_processor.get("type") == "TemplateProcessing" else None
    return pieces[0].get("SpecialToken", {}).get("id") if pieces else None


def named_roles(config: dict[str, Any], special_map: dict[str, Any]) -> dict[str, str]:
    """{"eos_token": "</s>", ...}; both files write a name as text or as an object with "content"."""
    found = {}
    for role in ROLES:
        value = config.get(role) or special_map.get(role)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            found[role] = value
    return found


def chat_template(files: dict[str, bytes], config: dict[str, Any]) -> str | None:
    """The Jinja text, from its own file or from tokenizer_config.json; of several the one called default."""
    if "chat_template.jinja" in files:
        return files["chat_template.jinja"].decode("utf-8", errors="replace")
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default") or next(iter(named.values()), None)
    return found if isinstance(found, str) else None
