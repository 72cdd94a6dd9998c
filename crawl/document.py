"""The plain data that flows through a crawl: Page -> Document or Drop -> one JSON line.

    fetched bytes      process pool                          crawler process, in order
    Page          ->   process(page, settings)          ->   Dedup.check(document)   ->   a line of documents-*.jsonl
                       Processed(document | drop, links)     document | Drop

Everything here pickles as plain data, so that extraction can run in other processes.
"""

import dataclasses
import json
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Page:
    """One answer of a server, as it came (after transport decompression)."""

    url: str  # URL that was asked for, as linked; redirects are pages of their own, so it is also the URL that answered
    body: bytes
    encoding: str | None = None  # charset of the Content-Type header, if it names one; may lie
    content_type: str = "text/html"  # lower-case media type without parameters
    headers: dict[str, str] = field(default_factory=dict)  # lower-case names; the few that matter
    fetched_at: str = ""  # ISO 8601, UTC, seconds


@dataclass(frozen=True)
class Extracted:
    """What extraction found in one page; cleaning and filters come after it."""

    title: str | None
    text: str
    date: str | None = None  # ISO date
    language: str | None = None  # ISO 639-1 code as declared or detected; None = unknown


@dataclass(frozen=True)
class Document:
    """One document of the corpus; `record` gives the line that is written (FORMAT.md)."""

    url: str
    text: str
    title: str | None = None
    date: str | None = None
    language: str | None = None
    fetched_at: str = ""
    sha256: str = ""  # of the UTF-8 bytes of `text`; set by crawl.processing.process
    site: str = ""  # host name without a leading "www."
    content_type: str = "text/html"
    masked: dict[str, int] = field(default_factory=dict)  # personal data replaced, by kind
    signature: tuple[int, ...] = ()  # MinHash values, computed in the pool; never written

    def record(self) -> dict:
        """The fields of one JSON line, in the order of FORMAT.md."""
        fields = dataclasses.asdict(self)
        del fields["signature"]
        return fields

    def line(self) -> bytes:
        """One JSON line with its newline; U+2028 and the like are escaped, so that any line reader agrees."""
        text = json.dumps(self.record(), ensure_ascii=False)
        for character in "\u2028\u2029\x85":
            text = text.replace(character, f"\\u{ord(character):04x}")
        # a lone surrogate has no UTF-8 form; it can only come from a broken page
        return text.encode("utf-8", "replace") + b"\n"


@dataclass(frozen=True)
class Drop:
    """A page that will not be in the corpus: why, and what it was (None when there was no text at all)."""

    reason: str  # snake_case, stable: it is a key of manifest.json and a folder name under dropped/
    document: Document | None = None
