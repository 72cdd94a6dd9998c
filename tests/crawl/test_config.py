"""conf/task/crawl.yaml has defaults and help, crawl/keys.py the types: each key in both."""

from pathlib import Path
from typing import Any, get_type_hints

from crawl.keys import Crawl
from crawl.options import MAY_CHANGE
from crawl.settings import CRAWL
from launcher.help.comments import read_help

FILE = Path(__file__).resolve().parents[2] / "conf" / "task" / "crawl.yaml"


def keys(record: Any) -> dict[str, Any]:
    """Nested as in the file."""
    hints = get_type_hints(record)
    return {name: keys(hint) if hasattr(hint, "__total__") else None for name, hint in hints.items()}


def names(section: dict[str, Any]) -> dict[str, Any]:
    return {name: names(value) if isinstance(value, dict) else None for name, value in section.items()}


def test_every_key_has_a_type() -> None:
    assert names(CRAWL) == keys(Crawl)


def test_every_key_has_help() -> None:
    assert [key for key, known in read_help(FILE).keys.items() if key.startswith("crawl.") and not known.help] == []


def test_lists_of_keys_name_keys() -> None:
    assert set(CRAWL) >= MAY_CHANGE
