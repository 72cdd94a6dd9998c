"""From what a user typed to checked settings: every wrong request is found here, before anything is asked of the
network. The launcher checks keys and types, as for run.py task=crawl; checks.py what only a crawl can know.
"""

from pathlib import Path
from typing import Any

from crawl.checks import check_all
from crawl.settings import CRAWL
from errors import RequestError

ROOT = Path(__file__).resolve().parent.parent

# These may change when a crawl goes on; any other difference makes it another crawl.
MAY_CHANGE = {
    "max_pages", "max_bytes", "max_minutes", "contact", "user_agent", "delay_s", "max_crawl_delay_s", "autothrottle",
    "autothrottle_concurrency", "concurrency", "concurrency_per_domain", "retries", "retry_wait_s",
    "max_retry_after_s", "timeout_s", "max_redirects", "http_cache", "parquet", "shard_bytes", "processes",
    "extract_timeout_s", "progress_s", "redis_url", "worker", "lease_s",
}  # fmt: skip


def parse(words: list[str]) -> dict:
    """Complete settings from `key=value` words; of several elements `[a,b]`, one may stand alone.

    Raises RequestError for unknown keys (at any depth) and values of a wrong type or out of range.
    """
    from launcher.config.section import checked_section
    from launcher.lab import Lab

    return checked_section("crawl", Lab(ROOT), task="crawl", words=[_in_brackets(word) for word in words])


def check(given: dict) -> dict:
    """Complete settings from the given ones and the defaults.

    Raises RequestError also for requests that cannot work.
    """
    from launcher.config.section import checked_section
    from launcher.lab import Lab

    settings = checked_section("crawl", Lab(ROOT), task="crawl", given=given)
    check_all(settings)
    return settings


def _in_brackets(word: str) -> str:
    key, equals, value = word.removeprefix("crawl.").partition("=")
    if not equals:
        raise RequestError(f"Not an option: {word!r}. Expected key=value, for instance max_pages=100.")
    return f"{key}=[{value}]" if isinstance(CRAWL.get(key), list) and not value.startswith("[") else f"{key}={value}"


def differences(old: dict, new: dict) -> list[str]:
    """The settings, as dotted keys, that make `new` another crawl than `old`."""
    return [f"{key}: was {_get(old, key)!r}, now {_get(new, key)!r}" for key in _leaves(new) if key.split(".")[0] not in MAY_CHANGE and _get(old, key) != _get(new, key)]  # fmt: skip  # noqa: E501


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
