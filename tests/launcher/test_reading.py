"""The small readers: annotations, sources, comments, words; and the help that is made of them."""

import ast
import math
from pathlib import Path

import pytest

from errors import RequestError
from launcher.cli import FLAGS
from launcher.config.annotations import choices, describe, fits, is_free_dict, limits
from launcher.config.source import class_attribute, read_target
from launcher.help.comments import read_help, split_comment
from launcher.help.screens import default_options, help_text
from launcher.help.words import nearest, nearest_key
from launcher.lab import Lab

ALIASES = {"Act": ast.parse("Literal['relu', 'gelu']", mode="eval").body}


def annotation(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("int", [1, -3], ["1", 1.0, True, None]),
        ("float", [1, 0.5], ["1", True, None, math.nan, math.inf, -math.inf, 10**400]),
        ("int", [2**63 - 1], [2**63, -(2**63)]),
        ("bool", [True], [1, "true", None]),
        ("str", ["a"], ["", 1, None, ["a"]]),
        ("Text", ["", "a"], [1, None]),
        ("PositiveInt", [1, 2], [0, -1, 1.0, "1", True, None]),
        ("NonNegativeInt | None", [0, None], [-1]),
        ("PositiveFloat", [1e-30, 1], [0, -0.5, math.inf]),
        ("Share", [0, 0.5, 1], [-0.001, 1.001]),
        ("PositiveShare", [0.001, 1], [0, 1.001]),
        ("OpenShare", [0.001, 0.999], [0, 1]),
        ("Below1", [0, 0.999], [-0.001, 1]),
        ("Annotated[int, at_least(2), at_most(8)]", [2, 8], [1, 9]),
        ("typing.Annotated[float, above(-1)]", [-0.5], [-1]),
        ("list[PositiveInt]", [[], [1]], [[1, 0], [True]]),
        ("tuple[Below1, Below1]", [[0.9, 0.99]], [[0.9, 1.0], [0.9]]),
        ("dict[str, PositiveFloat]", [{"a": 1}], [{"a": 0}, {"a": math.nan}]),
        ("PositiveInt | Literal['auto']", [1, "auto"], [0, "all"]),
        ("int | None", [1, None], ["a", 1.5]),
        ("Optional[str]", ["a", None], [1]),
        ("typing.Union[int, str]", [1, "a"], [None, []]),
        ("list[int]", [[], [1, 2]], [1, ["a"], {}]),
        ("Sequence[str]", [["a"]], ["a", [1]]),
        ("tuple[float, float]", [[0.9, 1]], [[0.9], [1, 2, 3], 0.9]),
        ("tuple[int, ...]", [[], [1, 2, 3]], [["a"]]),
        ("dict[str, float]", [{"a": 1}], [{"a": "b"}, 1]),
        ("Literal['single', 'ddp']", ["ddp"], ["dp", 1]),
        ("Literal[0, 1]", [0], [True, "0", 2]),
        ("int | Literal['auto']", [4, "auto"], ["all"]),
        ("Act", ["relu"], ["tanh"]),
        ("'int | None'", [1, None], ["a"]),
        ("Any", [1, None, "a"], []),
        ("None", [None], [0]),
    ],
)
def test_values_and_annotations(text: str, right: list[object], wrong: list[object]) -> None:
    assert [value for value in right if not fits(value, annotation(text), ALIASES)] == []
    assert [value for value in wrong if fits(value, annotation(text), ALIASES)] == []


def test_annotations_in_words() -> None:
    assert describe(annotation("int | None"), {}) == "a whole number or null"
    assert describe(annotation("Act"), ALIASES) == "one of: relu, gelu"
    assert choices(annotation("int | Literal['auto']"), {}) == ["auto"]
    assert describe(annotation("PositiveInt | None"), {}) == "a whole number (1 or more) or null"
    assert describe(annotation("Below1"), {}) == "a number (0 or more, below 1)"
    assert describe(annotation("tuple[Below1, Below1]"), {}) == "a list of 2 numbers (0 or more, below 1)"
    assert describe(annotation("dict[str, PositiveFloat] | None"), {}) == "a dictionary of numbers (above 0) or null"
    assert describe(annotation("list | None"), {}) == "a list or null"
    assert limits(annotation("NonNegativeInt | None"), {}) == "0 or more"
    assert limits(annotation("list[PositiveInt]"), {}) == "each 1 or more"
    assert limits(annotation("int | None"), {}) == ""
    assert is_free_dict(annotation("dict[str, int] | None"), {})
    assert not is_free_dict(annotation("list[dict]"), {})


def test_sources_are_read_through_bases_and_imports(toy: Lab) -> None:
    target = read_target("datamodules.toy.Toy", toy, key="data._target_")
    assert {name: p.required for name, p in target.params.items()} == {
        **{"path": True, "action": True, "tokenizer": True},
        **{"seed": True, "side": False},
    }
    assert class_attribute(target, "provides", toy) == ("tokens",)
    # what a class passes on to its base itself is no key of it; a name in a base's annotation is read where it stands
    target = read_target("datamodules.toy.Fixed", toy, key="data._target_")
    assert list(target.params) == ["action", "tokenizer", "side"]
    assert describe(target.params["side"].annotation, target.aliases) == "one of: a, b"
    assert class_attribute(read_target("datamodules.toy.Pairs", toy, key=""), "provides", toy) == ("pairs", "tokens2")
    assert class_attribute(target, "nothing", toy) is None


def test_third_party_sources_are_found_behind_their_reexports() -> None:
    lab = Lab(Path(__file__).parents[2])
    target = read_target("lightning.pytorch.callbacks.EarlyStopping", lab, key="callbacks.x._target_")
    assert {"monitor", "patience", "mode"} <= target.params.keys()
    assert target.params["monitor"].required
    assert not target.params["patience"].required


def test_a_target_that_is_not_there_names_the_nearest(toy: Lab) -> None:
    with pytest.raises(RequestError, match=r"defines no Toi; it defines: Toy\. Did you mean models\.toy\.Toy\?"):
        read_target("models.toy.Toi", toy, key="model._target_")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" 8  # heads", ("8", "heads")),
        (' "a # b"  # text', ('"a # b"', "text")),
        (" '#'   # it''s", ("'#'", "it''s")),
        (' ["<|x|>"]  # names', ('["<|x|>"]', "names")),
        (" http://x/#y", ("http://x/#y", "")),
        ("", ("", "")),
        ("   # a section", ("", "a section")),
    ],
)
def test_comments(text: str, expected: tuple[str, str]) -> None:
    assert split_comment(text) == expected


def test_help_of_a_file(toy: Lab) -> None:
    written = read_help(toy.groups["callbacks"]["speak"])
    assert written.about == "speaks"
    assert written.keys["speak.words"].help == "words"
    assert written.keys["speak"].is_section
    assert read_help(toy.groups["task"]["say"]).about == "say something"


def test_nearest() -> None:
    assert nearest("gptt", ["gpt", "gpt2", "moe"]) == "gpt"
    assert nearest("zzz", ["gpt", "moe"]) is None
    valid = ["model.n_layer", "optimizer.lr", "trainer.max_steps", "data.stride", "data.seed", "seed"]
    assert nearest_key("n_layer", valid) == "model.n_layer"
    assert nearest_key("stride", [*valid, "trainer"]) == "data.stride"
    assert nearest_key("trainer.lr", valid) == "optimizer.lr"
    assert nearest_key("modle.n_layr", valid) == "model.n_layer"
    assert nearest_key("xyzzy", valid) is None
    assert nearest_key("inspect.n", ["inspect", "inspect.view", "inspect.tokens"]) is None
    assert (
        nearest_key("reward.format.patern", ["tokenizer.pattern"], ["reward.format.pattern"]) == "reward.format.pattern"
    )


def test_help_shows_every_group_option_and_common_key() -> None:
    lab = Lab(Path(__file__).parents[2])
    text = help_text([], lab, FLAGS)
    for group, options in lab.groups.items():
        assert f"\n  {group}" in text
        for option, file in options.items():
            assert f" {option} " in text
            assert read_help(file).about in text
    for key in ("seed=", "run_dir=", "init_from=", "resume=", "trainer.max_steps=", "trainer.val_every=", "data.path="):
        assert f"\n  {key}" in text
    assert default_options(lab)["model"] == "gpt"
    assert default_options(lab)["experiment"] is None


def test_help_leaves_two_blanks_behind_a_value_that_is_longer_than_its_column(own_root: Path) -> None:
    long = "${times_plus:${gbft.stages},2,1}_and_more_than_the_column_is_wide"
    (own_root / "conf/model/long.yaml").write_text(f"# long\n_target_: models.toy.Toy\nwidth: {long}  # channels\n")
    lines = help_text(["model=long"], Lab(own_root), FLAGS).splitlines()
    assert f"  model.width={long}  channels" in lines


def test_help_for_one_thing() -> None:
    lab = Lab(Path(__file__).parents[2])
    assert "model.n_layer=12" in help_text(["model=gpt2"], lab, FLAGS)
    assert "trainer.accelerator=cpu" in help_text(["hardware=cpu"], lab, FLAGS)
    assert "gpt2_xl" in help_text(["model"], lab, FLAGS)
    assert help_text(["trainer.max_steps"], lab, FLAGS).startswith("trainer.max_steps   ")
    for word in ("modl", "model=gptt", "trainer.max_step"):
        with pytest.raises(RequestError, match="Did you mean"):
            help_text([word], lab, FLAGS)


def test_help_names_keys_that_only_the_code_knows(toy: Lab) -> None:
    text = help_text(["model=small"], toy, FLAGS)
    assert "Also, with defaults in the code: model.depth, model.act, model.sizes, model.extra" in text


def test_what_an_option_inherits_into_a_section_is_told_under_it(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text("stages: 5  # learners\neta: 0.5  # their steps\n")
    (tmp_path / "long.yaml").write_text(
        "# @package _global_\n# two\ndefaults:\n  - short@gbft\n  - _self_\n\ngbft:\n  stages: 2\n"
    )
    keys = read_help(tmp_path / "long.yaml").keys
    assert {key: (known.value, known.help) for key, known in keys.items() if not known.is_section} == {
        "gbft.stages": ("2", "learners"),
        "gbft.eta": ("0.5", "their steps"),
    }


def test_help_of_a_setting_of_boosting_has_all_its_keys() -> None:
    shown = help_text(["gbft=default"], Lab(Path(__file__).parents[2]), FLAGS)
    assert "gbft.eta=0.7" in shown
    assert "gbft.cache_gb=4.0" in shown
