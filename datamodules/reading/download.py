"""One file from the network, checked against its SHA-256, kept in the cache."""

from __future__ import annotations

import hashlib
import logging
import os
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from commands import shell
from datamodules.reading.retry import with_retries
from errors import RunError

log = logging.getLogger(__name__)
TIMEOUT_S = 30
TRIES = 3


def fetched(url: str, sha256: str, cache_dir: Path) -> Path:
    """The file behind `url`, from the cache or from there. Raises RunError if it cannot be had, or is another."""
    path = cache_dir / "downloads" / sha256[:16] / url.rpartition("/")[2]
    if path.is_file() and hash_of(path.read_bytes()) == sha256:
        return path
    by_hand = f"To fetch it by hand: {shell('curl', '-L', '-o', 'FILE', url)}, then type data.path=FILE"
    try:
        data = with_retries(lambda: read(url), f"fetching {url}", TRIES)
    except (OSError, RunError) as error:
        raise RunError(f"{url} could not be fetched: {error}\n{by_hand}") from error
    if hash_of(data) != sha256:
        raise RunError(f"{url} is another file than it was: SHA-256 {hash_of(data)}, expected {sha256}.\n{by_hand}")
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise RunError(f"could not write {path}: {error.strerror}. Type data.cache_dir=<another folder>.") from error
    return path


def read(url: str) -> bytes:
    log.info("fetching %s", url)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return answer.read()
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        raise ConnectionError(error.reason) from error


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
