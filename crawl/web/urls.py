"""Addresses: one form for each (canonical), and which links are worth following (Rules).

Pure functions and plain state only: links are judged in the extraction processes, next to the parsing.
"""

import fnmatch
import posixpath
import re
from functools import lru_cache
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

# Files that are never HTML or plain text; asking for them would waste a page of the budget.
NOT_PAGES = frozenset(
    (
        "7z", "apk", "avi", "bin", "bmp", "bz2", "css", "csv", "deb", "dmg", "doc", "docx", "eot", "epub",
        "exe", "flac", "flv", "gif", "gz", "ico", "iso", "jar", "jpeg", "jpg", "js", "json", "m4a", "m4v",
        "mkv", "mov", "mp3", "mp4", "mpeg", "mpg", "msi", "odp", "ods", "odt", "ogg", "ogv", "otf", "pdf",
        "png", "ppt", "pptx", "ps", "rar", "rpm", "rtf", "svg", "swf", "tar", "tgz", "tif", "tiff", "torrent",
        "ttf", "wav", "webm", "webp", "whl", "wma", "wmv", "woff", "woff2", "xls", "xlsx", "xz", "zip", "zst",
    )
)  # fmt: skip
SAFE = "!$&'()*+,;=:@/-._~"
DATE_PART = re.compile(
    r"(?<!\d)(?:19|20|21)\d\d(?:[-/_.]?(?:0?[1-9]|1[0-2]))?(?:[-/_.]?(?:0?[1-9]|[12]\d|3[01]))?(?!\d)"
)
CALENDAR_WORD = re.compile(r"calend|kalend|agenda|/events?\b|tribe-bar-date|[?&](?:year|month|day|date|week)=", re.I)


@lru_cache(maxsize=65536)
def canonical(url: str, strip: tuple[str, ...] = ()) -> str | None:
    """The one form of an address, or None if it is no http(s) address.

    Lower-case scheme and host, no default port, no fragment, no dot segments, one spelling of percent escapes, and
    without the query parameters that `strip` names (shell patterns, any case).
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
        host = (parts.hostname or "").rstrip(".").encode("idna").decode() if parts.hostname else ""
    except (ValueError, UnicodeError):
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    if ":" in host:
        host = f"[{host}]"  # IPv6
    if port and port != {"http": 80, "https": 443}[parts.scheme]:
        host = f"{host}:{port}"
    return urlunsplit((parts.scheme, host, _path(parts.path, strip), _query(parts.query, strip), ""))


def _path(path: str, strip: tuple[str, ...]) -> str:
    # ;jsessionid=... hides in the path
    path = re.sub(r";([\w-]+)=[^/;]*", lambda match: "" if _stripped(match[1], strip) else match[0], path)
    path = (
        quote(unquote(path, errors="surrogateescape"), safe=SAFE, errors="surrogateescape")
        if "%2f" not in path.lower()
        else path
    )
    if "/." in path or "//" in path:
        slash = "/" if path.endswith(("/", "/.", "/..")) else ""
        path = re.sub("^/+", "/", posixpath.normpath(re.sub("/+", "/", path))).rstrip("/") + slash
    return path or "/"


def _query(query: str, strip: tuple[str, ...]) -> str:
    if not query:
        return ""
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    kept = [(name, value) for name, value in pairs if not _stripped(name, strip)]
    return urlencode(kept, errors="surrogateescape") if kept else ""


def _stripped(name: str, strip: tuple[str, ...]) -> bool:
    name = name.lower()
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in strip)


def in_domains(host: str, domains: list[str]) -> bool:
    """Is this host one of the domains, or below one?"""
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def site_of(url: str) -> str:
    """The host name without a leading `www.`: what counts as one site."""
    return (urlsplit(url).hostname or "").removeprefix("www.")


def trap_key(url: str) -> tuple[str, str] | None:
    """What endless spaces have in common: (kind, key) where addresses with the same key are counted, or None.

    `query`: the same path with ever new queries; `calendar`: the same address with ever new dates.
    """
    parts = urlsplit(url)
    rest = f"{parts.path}?{parts.query}" if parts.query else parts.path
    if CALENDAR_WORD.search(rest):
        template = re.sub(r"\d+", "0", DATE_PART.sub("DATE", rest))
        if template != rest:
            return "calendar", f"{parts.netloc}{template}"
    return ("query", f"{parts.netloc}{parts.path}") if parts.query else None


class Rules:
    """Which links to follow; made once per process from checked settings."""

    def __init__(self, settings: dict, domains: list[str]):
        self.domains = domains
        self.strip = tuple(pattern.lower() for pattern in settings["strip_params"])
        self.include = [re.compile(pattern) for pattern in settings["include"]]
        self.exclude = [re.compile(pattern) for pattern in settings["exclude"]]
        self.max_length = settings["max_url_length"]
        self.max_segments = settings["max_path_segments"]

    def canonical(self, url: str) -> str | None:
        """The canonical form of an absolute address under these settings."""
        return canonical(url, self.strip)

    def judge(self, url: str, *, listed: bool = False) -> str | None:
        """Why a canonical address is not followed, or None if it is.

        `listed`: a page that was followed redirects to it, so that `include` does not apply.
        """
        parts = urlsplit(url)
        if self.domains and not in_domains(parts.hostname or "", self.domains):
            return "offsite"
        if len(url) > self.max_length:
            return "trap_long_address"
        if any(pattern.search(url) for pattern in self.exclude):
            return "excluded"
        if not listed and self.include and not any(pattern.search(url) for pattern in self.include):
            return "not_included"
        return self._judge_path(parts)

    def _judge_path(self, parts: SplitResult) -> str | None:
        segments = [segment for segment in parts.path.split("/") if segment]
        if segments and posixpath.splitext(segments[-1])[1][1:].lower() in NOT_PAGES:
            return "not_a_page"
        if len(segments) > self.max_segments:
            return "trap_deep_path"
        # /a/b/a/b/a/b: a relative link gone wrong, endless
        if len(segments) > 5 and any(segments.count(segment) > 2 for segment in set(segments)):
            return "trap_repeated_path"
        return None
