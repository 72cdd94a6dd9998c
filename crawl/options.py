"""From what a user typed to checked settings: every wrong request is found here, before anything is asked of the
network.

`parse(["start_urls=[https://a.org]", "filters.too_short.enabled=false"])` -> nested dict; `check(nested)` -> complete
settings.
"""

import copy
import difflib
import re
from typing import Any

from crawl.checks import check_all
from crawl.settings import CRAWL
from errors import RequestError

# What a key that is null by default may hold.
NULLABLE: dict[str, type] = {
    "urls_file": str,
    "contact": str,
    "max_minutes": float,
    "previous": str,
    "redis_key": str,
    "worker": str,
}
# These may change when a crawl goes on; any other difference makes it another crawl.
MAY_CHANGE = {
    "max_pages", "max_bytes", "max_minutes", "contact", "user_agent", "delay_s", "max_crawl_delay_s", "autothrottle",
    "autothrottle_concurrency", "concurrency", "concurrency_per_domain", "retries", "retry_wait_s",
    "max_retry_after_s", "timeout_s", "max_redirects", "http_cache", "parquet", "shard_bytes", "processes",
    "extract_timeout_s", "progress_s", "redis_url", "worker", "lease_s",
}  # fmt: skip


def parse(arguments: list[str]) -> dict:
    """`key=value` words as a nested dict of text values; dots go one level down.

    Raises RequestError for a word without `=`.
    """
    nested: dict = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise RequestError(f"Not an option: {argument!r}. Expected key=value, for instance max_pages=100.")
        place = nested
        *parents, last = key.removeprefix("crawl.").split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return nested


def check(given: dict) -> dict:
    """Complete settings from the given ones and the defaults.

    Raises RequestError for unknown keys (at any depth), values of a wrong type, and requests that cannot work.
    """
    settings = _merge(CRAWL, given, "")
    check_all(settings)
    return settings


def differences(old: dict, new: dict) -> list[str]:
    """The settings, as dotted keys, that make `new` another crawl than `old`."""
    return [f"{key}: was {_get(old, key)!r}, now {_get(new, key)!r}" for key in _leaves(new) if key.split(".")[0] not in MAY_CHANGE and _get(old, key) != _get(new, key)]  # fmt: skip  # noqa: E501


def _merge(defaults: dict, given: dict, prefix: str) -> dict:
    merged = copy.deepcopy(defaults)
    for key, value in given.items():
        if key not in defaults:
            near = difflib.get_close_matches(key, list(defaults), n=1)
            hint = f" Did you mean crawl.{prefix}{near[0]}?" if near else f" Known keys: {', '.join(sorted(defaults))}."
            raise RequestError(f"Unknown key crawl.{prefix}{key}.{hint}")
        name = f"{prefix}{key}"
        if isinstance(defaults[key], dict) and isinstance(value, dict):
            merged[key] = _merge(defaults[key], value, f"{name}.")
        else:
            merged[key] = _coerce(name, value, defaults[key])
    return merged


def _coerce(name: str, value: Any, default: Any) -> Any:
    kind = NULLABLE.get(name, str) if default is None else type(default)
    if value is None or (isinstance(value, str) and value.lower() in ("null", "none")):
        if default is None:
            return None
        raise RequestError(f"crawl.{name}=null: expected {_words(kind)}.")
    try:
        if kind is list:
            return _as_list(value, default)
        if kind is dict:
            raise ValueError
        if kind is bool:
            return _as_bool(value)
        if kind is int:
            return _as_int(value)
        if kind is float:
            if isinstance(value, bool):
                raise ValueError
            return float(value)
        return str(value).strip("'\"")
    except (ValueError, TypeError, KeyError):
        raise RequestError(f"crawl.{name}={value}: expected {_words(kind)}.") from None


def _words(kind: type) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", list: "a list such as [a,b]", str: "text", dict: "a section: set its keys one by one"}[kind]  # fmt: skip  # noqa: E501


def _as_bool(value: Any) -> bool:
    return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]


def _as_int(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
        raise ValueError
    return int(str(value).replace("_", "")) if isinstance(value, str) else int(value)


def _as_list(value: Any, default: list) -> list:
    if isinstance(value, str):
        inner = value.strip()
        inner = inner[1:-1] if inner.startswith("[") and inner.endswith("]") else inner
        # a comma inside quotes, braces or parentheses belongs to the element: [a{2,3},'b,c']
        parts = re.findall(r"""(?:"[^"]*"|'[^']*'|\{[^}]*\}|\([^)]*\)|[^,])+""", inner)
        value = [part.strip().strip("'\"") for part in parts if part.strip()]
    elif isinstance(value, (bytes, dict)) or not hasattr(value, "__iter__"):
        raise ValueError
    kind = type(default[0]) if default else str
    return [kind(element) for element in value]


def _leaves(settings: dict, prefix: str = "") -> list[str]:
    leaves = []
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            leaves += _leaves(value, f"{prefix}{key}.")
        else:
            leaves.append(f"{prefix}{key}")
    return leaves


def _get(settings: dict, dotted: str) -> Any:
    value: Any = settings
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
