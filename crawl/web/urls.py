"""Addresses: the form that is fetched (as_linked), the one by which they are compared (canonical), and which links are
worth following (Rules).

Pure functions and plain state only: links are judged in the extraction processes, next to the parsing.
"""

import fnmatch
import posixpath
import re
from functools import lru_cache
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urljoin, urlsplit, urlunsplit

from w3lib.url import safe_url_string

from stopping import time_limit

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
SESSION = re.compile(r";([\w-]+)=[^/;]*")  # hides in the path
EMPTY_SEGMENTS = re.compile(r"(?<=[^:])//+")
SAFE = "!$&'()*+,;=:@/-._~"
DATE_PART = re.compile(
    r"(?<!\d)(?:19|20|21)\d\d(?:[-/_.]?(?:0?[1-9]|1[0-2]))?(?:[-/_.]?(?:0?[1-9]|[12]\d|3[01]))?(?!\d)"
)
PATTERNS_S = 0.5  # of the processor, to look for the patterns of crawl.include and crawl.exclude in one address
CALENDAR_WORD = re.compile(r"calend|kalend|agenda|/events?\b|tribe-bar-date|[?&](?:year|month|day|date|week)=", re.I)


def join(base: str, link: str) -> str | None:
    """Where a link of a page at `base` leads; None for what is no address. Unlike urljoin, it keeps `//` in paths."""
    base, link = (EMPTY_SEGMENTS.sub(lambda match: "/" + "\uf8ff/" * (len(match[0]) - 1), url) for url in (base, link))
    try:
        return urljoin(base, link).replace("\uf8ff", "")
    except ValueError:  # http://[ and the like
        return None


@lru_cache(maxsize=65536)
def as_linked(url: str, strip: tuple[str, ...] = (), encoding: str = "utf-8") -> str | None:
    """The address to ask for, or None if it is no http(s) address: as it was written, escaped as browsers do (w3lib),
    without fragment, dot segments and the parameters that `strip` names. `encoding`: of the page, for the query.
    """
    name = canonical(url, strip)
    if name is None:
        return None
    try:
        parts = urlsplit(safe_url_string(url.strip(), encoding))
    except (ValueError, UnicodeError, LookupError):
        return name
    path = SESSION.sub(lambda match: "" if _stripped(match[1], strip) else match[0], parts.path)
    if "/." in path:
        path = urlsplit(join("http://a/", path) or path).path
    kept = [pair for pair in parts.query.split("&") if not _stripped(unquote(pair.partition("=")[0]), strip)]
    return urlunsplit((*urlsplit(name)[:2], path or "/", "&".join(kept), ""))


@lru_cache(maxsize=65536)
def canonical(url: str, strip: tuple[str, ...] = ()) -> str | None:
    """The form by which addresses are compared, which the site itself may not know; None if it is no http(s) address.

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
    path = SESSION.sub(lambda match: "" if _stripped(match[1], strip) else match[0], path)
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

    def as_linked(self, url: str, encoding: str = "utf-8") -> str | None:
        """The address to ask for."""
        return as_linked(url, self.strip, encoding)

    def judge(self, url: str, *, listed: bool = False) -> str | None:
        """Why an address is not followed, or None if it is.

        `listed`: a page that was followed redirects to it, so that `include` does not apply.
        """
        parts = urlsplit(url)
        if self.domains and not in_domains(parts.hostname or "", self.domains):
            return "offsite"
        if len(url) > self.max_length:
            return "trap_long_address"
        forms = (url, self.canonical(url) or url)  # %7Euser or ~user: whoever writes a pattern thinks of one of them
        try:
            with time_limit(PATTERNS_S, TimeoutError(), clock="work"):
                if any(pattern.search(form) for pattern in self.exclude for form in forms):
                    return "excluded"
                if not listed and self.include and not any(p.search(form) for p in self.include for form in forms):
                    return "not_included"
        except TimeoutError:  # an address that a site may have made for it
            return "slow_pattern"
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
