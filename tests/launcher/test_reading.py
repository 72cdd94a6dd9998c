"""The small readers: annotations, sources, comments, words; and the help that is made of them."""

import ast
from pathlib import Path

import pytest

from errors import RequestError
from launcher.cli import FLAGS
from launcher.config.annotations import choices, describe, fits, is_free_dict
from launcher.config.compose import compose
from launcher.config.source import class_attribute, read_target
from launcher.help.comments import read_help, read_option, split_comment
from launcher.help.screens import default_options, help_text
from launcher.help.words import nearest, nearest_key
from launcher.lab import Lab, lineage

ALIASES = {"Act": ast.parse("Literal['relu', 'gelu']", mode="eval").body}


def annotation(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("int", [1, -3], ["1", 1.0, True, None]),
        ("float", [1, 0.5], ["1", True, None]),
        ("bool", [True], [1, "true", None]),
        ("str", ["", "a"], [1, None, ["a"]]),
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


@pytest.mark.parametrize("written", ["defaults: [small, _self_]", "defaults:\n  - small   # as it is\n  - _self_"])
def test_an_option_says_what_differs_and_inherits_the_rest_with_its_help(own_root: Path, written: str) -> None:
    (own_root / "conf/model/wide.yaml").write_text(f"# wide\n{written}\n\nwidth: 800\nact: relu  # bends\n")
    lab = Lab(own_root)
    assert [file.stem for file in lineage(lab.groups["model"]["wide"])] == ["small", "wide"]
    text = help_text(["model=wide"], lab, FLAGS)
    assert text.startswith("model=wide   wide")
    shown = [line.split() for line in text.splitlines() if line.startswith("  model.")]
    assert shown == [["model.width=800", "channels"], ["model.rate=0.5", "share"], ["model.act=relu", "bends"]]
    assert "Also, with defaults in the code: model.depth, model.sizes, model.extra" in text
    assert compose(["model=wide"], lab).cfg.model == {"_target_": "models.toy.Toy", "width": 800, "rate": 0.5,
                                                      "act": "relu"}  # fmt: skip


def test_a_recipe_inherits_the_section_of_its_group(own_root: Path) -> None:
    (own_root / "conf/model/wide.yaml").write_text(
        "# @package _global_\n# wide\ndefaults: [small@model, _self_]\nmodel:\n  width: 800\noptimizer:\n  lr: 0.5\n"
    )
    (own_root / "conf/model/wider.yaml").write_text(
        "# @package _global_\n# wider\ndefaults: [wide, _self_]\nmodel:\n  width: 8000\n"
    )
    lab = Lab(own_root)
    keys = read_option("model", lab.groups["model"]["wider"]).keys
    assert {key: (known.value, known.help) for key, known in keys.items() if not known.is_section} == {
        "model._target_": ("models.toy.Toy", ""),
        "model.width": ("8000", "channels"),
        "model.rate": ("0.5", "share"),
        "optimizer.lr": ("0.5", ""),
    }
    assert compose(["model=wider"], lab).cfg.model == {"_target_": "models.toy.Toy", "width": 8000, "rate": 0.5}


def test_choices_of_other_groups_are_no_lineage() -> None:
    lab = Lab(Path(__file__).parents[2])
    assert len(lineage(lab.groups["objective"]["gbft"])) == 1
    assert len(lineage(lab.conf / "config.yaml")) == 1


def test_nearest() -> None:
    assert nearest("gptt", ["gpt", "gpt2", "moe"]) == "gpt"
    assert nearest("zzz", ["gpt", "moe"]) is None
    valid = ["model.n_layer", "optimizer.lr", "trainer.max_steps", "data.stride", "data.seed", "seed"]
    assert nearest_key("n_layer", valid) == "model.n_layer"
    assert nearest_key("stride", [*valid, "trainer"]) == "data.stride"
    assert nearest_key("trainer.lr", valid) == "optimizer.lr"
    assert nearest_key("modle.n_layr", valid) == "model.n_layer"
    assert nearest_key("xyzzy", valid) is None


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
