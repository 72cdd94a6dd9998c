"""Keys that another option of the group has."""

from pathlib import Path

from launcher.config.elsewhere import keys_of_others
from launcher.lab import Lab

BIG = "# a large one\ndefaults:\n  - small\n  - _self_\n\nparts:\n  more: 1  # how many\n"


def lab(root: Path) -> Lab:
    for name, text in (("model/small", "# a small one\nwidth: 1  # how wide\n"), ("model/big", BIG)):
        file = root / f"conf/{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Lab(root)


def test_keys_stand_with_the_options_that_write_them_plain_ones_first(tmp_path: Path) -> None:
    assert keys_of_others("model", {"model": "nothing"}, lab(tmp_path)) == {
        **{"model.width": ["small", "big"], "model.parts": ["big"], "model.parts.more": ["big"]}
    }
    assert keys_of_others("model", {"model": "big"}, lab(tmp_path)) == {"model.width": ["small"]}
    assert keys_of_others("nope", {}, lab(tmp_path)) == {}


def test_options_of_ones_own_are_not_read(tmp_path: Path) -> None:
    """A file that nobody chose may be anything: an option of --config-dir does not stop a message about another key."""
    mine = tmp_path / "mine/model"
    mine.mkdir(parents=True)
    (mine / "bad.yaml").write_bytes(b"\xff\xfe")
    found = Lab(lab(tmp_path).root, (tmp_path / "mine",))
    assert "bad" in found.groups["model"]
    assert set(keys_of_others("model", {}, found)) == {"model.width", "model.parts", "model.parts.more"}
