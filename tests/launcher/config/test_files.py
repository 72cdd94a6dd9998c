"""YAML from anywhere: in plain words what is wrong with it, before memory or time is spent on it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from errors import RequestError
from launcher.cli import FLAGS
from launcher.config.compose import compose
from launcher.config.files import load_option, load_yaml
from launcher.help.comments import read_help
from launcher.help.screens import help_text
from launcher.jobs.run_folder import save_config
from launcher.lab import Lab

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)
HOSTILE = {
    "multiplying aliases": (LAUGHS, "aliases that multiply"),
    "aliases in mappings": (LAUGHS.replace("[", "{k: [").replace("]\n", "]}\n"), "aliases that multiply"),
    "an alias of itself": ("a: &a [*a]\n", "stands for nothing"),
    "deep in brackets": ("a: " + "[" * 3000 + "]" * 3000, "nested more than 64 deep"),
    "deep in braces": ("a: " + "{a: " * 3000 + "1" + "}" * 3000, "nested more than 64 deep"),
    "deep by indentation": ("".join(" " * i + f"a{i}:\n" for i in range(3000)), "nested more than 64 deep|larger"),
    "an interpolation unclosed": ("seed: ${\n", "cannot be read|no viable alternative|another key"),
    "not UTF-8": (b"seed: \xff\n", "is not UTF-8"),
    "a tag that nobody knows": ("seed: !touch 1\n", "cannot be read"),
    "a number without digits": ("seed: 0x_\n", "cannot be read"),
    "NUL": ("seed: \0\n", "cannot be read"),
    "half a character": ('run_dir: "\\ud800"\n', ""),
}


@pytest.fixture
def saved(toy: Lab, tmp_path: Path) -> Path:
    folder = tmp_path / "earlier"
    folder.mkdir()
    plan = compose([], toy)
    save_config(folder, plan.cfg, plan.hydra, plan.overrides)
    return folder


def refusal(do: Callable[[], object]) -> str:
    with pytest.raises(RequestError) as caught:
        do()
    message = str(caught.value)
    assert len(message) < 1000
    return message


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(20)
def test_F23_F25_a_hostile_file(name: str, own_root: Path, saved: Path, toy: Lab) -> None:
    text, expected = HOSTILE[name]
    content = text if isinstance(text, bytes) else text.encode()
    mine = own_root / "conf/experiment/mine.yaml"
    mine.write_bytes(b"# @package _global_\n" + content)
    assert matches(refusal(lambda: compose(["experiment=mine"], Lab(own_root))), expected)
    (own_root / "conf/experiment/outer.yaml").write_text("# @package _global_\ndefaults:\n  - mine\n")
    assert matches(refusal(lambda: compose(["experiment=outer"], Lab(own_root))), expected)
    for file in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        before = (saved / ".hydra" / file).read_bytes()
        (saved / ".hydra" / file).write_bytes(content)
        if file != "overrides.yaml" or "deep" in name or "alias" in name:
            for word in ("resume", "rerun", "init_from"):
                if word != "init_from" or file == "config.yaml":
                    refusal(lambda word=word: compose([f"{word}={saved}"], toy))
        (saved / ".hydra" / file).write_bytes(before)


def matches(message: str, expected: str) -> bool:
    return any(part in message for part in expected.split("|"))


def test_aliases_that_do_not_multiply_are_fine(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &a {x: 1, y: [1, 2]}\nb: *a\nc: [*a, *a]\n")
    assert load_yaml(tmp_path / "a.yaml").c[1].y == [1, 2]


def test_what_an_option_inherits(own_root: Path) -> None:
    file = own_root / "conf/model/tall.yaml"
    file.write_text("# tall\ndefaults:\n  - large\n  - _self_\n\nwidth: 5\ndepth: 9  # layers\n")
    lab = Lab(own_root)
    assert compose(["model=tall"], lab).cfg.model == {"_target_": "models.toy.Toy", "width": 5, "rate": 0.5, "depth": 9}
    assert compose(["model=tall"], lab).choices["model"] == "tall"
    assert load_option(file) | {"defaults": None} == {
        "_target_": "models.toy.Toy", "width": 5, "rate": 0.5, "depth": 9, "defaults": None
    }  # fmt: skip
    told = read_help(file)
    assert told.about == "tall"
    assert {key: (k.value, k.help) for key, k in told.keys.items() if key != "_target_"} == {
        "width": ("5", "channels"), "rate": ("0.5", "share"), "depth": ("9", "layers")
    }  # fmt: skip
    assert "model.rate=0.5" in help_text(["model=tall"], lab, FLAGS)
    with pytest.raises(RequestError, match=r"Did you mean model\.rate\?"):
        compose(["model=tall", "model.rat=1"], lab)


def test_F23_files_that_inherit_each_other_have_an_end(own_root: Path) -> None:
    model = own_root / "conf/model"
    (model / "one.yaml").write_text("# the first\ndefaults:\n  - two\n  - _self_\nwidth: 3  # of one\n")
    (model / "two.yaml").write_text("# the second\ndefaults:\n  - one\n  - _self_\nwidth: 4  # of two\n")
    assert read_help(model / "one.yaml").keys["width"].value == "3"
    assert "model.width=3" in help_text(["model=one"], Lab(own_root), FLAGS)
    assert "inherits" in refusal(lambda: load_option(model / "one.yaml"))
    refusal(lambda: compose(["model=one"], Lab(own_root)))


def test_F23_help_about_a_file_that_lands_where_nothing_takes_its_keys(own_root: Path) -> None:
    (own_root / "conf/experiment/mine.yaml").write_text("# mine\nn_layer: 3  # of nobody\n")
    assert "experiment.n_layer=3" in help_text(["experiment=mine"], Lab(own_root), FLAGS)
