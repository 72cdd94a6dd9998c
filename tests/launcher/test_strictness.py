"""N2: a mistyped key stops the run, at every depth, with the nearest valid key and what to type."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from errors import RequestError
from launcher.cli import main
from launcher.config.compose import compose
from launcher.config.overrides import parse
from launcher.jobs.sweep import check_jobs
from launcher.lab import Lab


def refusal(words: Sequence[str], lab: Lab) -> str:
    with pytest.raises(RequestError) as caught:
        compose(words, lab)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("modle=small", "Did you mean model?"),
        ("model=smal", "Did you mean model=small?"),
        ("model.widht=2", "Type: model.width=2"),
        ("width=2", "Type: model.width=2"),
        ("trainer.width=2", "Type: model.width=2"),
        ("model.inner.width=2", "Type: model.width=2"),
        ("+model.widht=2", "Type: model.width=2"),
        ("++model.widht=2", "Type: model.width=2"),
        ("+modle=small", "Did you mean model?"),
        ("callbacks.speek.words=x", "Type: callbacks.speak.words=x"),
        ("callbacks.speak.wrds=x", "Type: callbacks.speak.words=x"),
        ("~model.widht", "Did you mean model.width?"),
        ("sed=3", "Type: seed=3"),
        ("prompt=x", "Type: task=say prompt=x"),
        ("hydra.swep.dir=x", "Did you mean hydra.sweep?"),
        ("hydra.sweep.dri=x", "Did you mean hydra.sweep.dir?"),
        ("+hydra.sweep.dri=x", "Did you mean hydra.sweep.dir?"),
        ("++hydra.swep=x", "Did you mean hydra.sweep?"),
        ("++hydra.sweeper.parms.seed=1", "Did you mean hydra.sweeper.params?"),
        ("hydra/launcher=basik", "basic"),
        ("experiment=wid", "Did you mean experiment=wide?"),
        ("say", "Type: task=say"),
        ("help", "Type: python run.py --help"),
    ],
)
def test_N2_typed_wrong(word: str, nearest: str, toy: Lab) -> None:
    assert nearest in refusal([word], toy)


def test_N2_a_key_of_another_task_is_told_by_its_name_here() -> None:
    here = Lab(Path(__file__).parents[2])
    assert "Type: serve.max_new_tokens=3" in refusal(["task=serve", "max_new_tokens=3"], here)
    assert "Type: task=chat max_new_tokens=3" in refusal(["max_new_tokens=3"], here)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("model.width=abc", "expected a whole number.\nType: model.width=8"),
        ("model.width=true", "expected a whole number"),
        ("trainer.max_steps=1.5", "expected a whole number"),
        ("trainer.max_steps=1e3", "Type: trainer.max_steps=1000"),
        ("model.act=rleu", "one of: relu, gelu.\nType: model.act=relu"),
        ("model.rate=high", "expected a number"),
        ("model.sizes=[1,a]", "expected a list of whole numbers or null"),
        ("model.extra={a: b}", "expected a dictionary of numbers or null"),
        ("optimizer.nesterov=1", "expected true or false"),
        ("seed=true", "expected a whole number"),
        ("model.width=1,2", "add -m (multirun)"),
        ("model=small,large", "add -m (multirun)"),
        ("model.vocab_size=3", "filled in by the program"),
        ("model=null", "no such option"),
        ("~model", "cannot be left out"),
        ("model..width=2", "model..width is not the name of a key"),
        ("modelé.width=2", "modelé.width is not the name of a key"),
        ("~model.width", "model.width is needed and cannot be left out"),
        ("~trainer.max_steps=5", "trainer.max_steps is needed and cannot be left out"),
        ("run_dir=${run_dir}", "run_dir: ${run_dir} cannot be resolved"),
        ("seed=${seed}", "cannot be resolved"),
        ("~model.rate=${", "whatever its value is.\nType: ~model.rate"),
        ("~seed", "seed is needed and cannot be left out"),
        ("~model._target_", "model._target_ is needed and cannot be left out"),
        ("trainer.max_time=10m", 'expected text (hours:minutes:seconds, such as "00:10:00") or null'),
        ("trainer.max_time=00:60:00", "hours:minutes:seconds"),
        ("trainer.max_time=600", "hours:minutes:seconds"),
        ("objective.optimizer=x", "objective.optimizer is filled in by the program and cannot be set"),
        ("objective.seed=3", "objective.seed is filled in by the program and cannot be set"),
        ("model.width=${model.widht}", "model.width: ${model.widht} cannot be resolved"),
        ("hydra.job_logging.root.level=DEBUG", "hydra.job_logging"),
        ("hydra.run.dir=x", "Type run_dir=PATH"),
        ("hydra.sweep.dir=x", "Type run_dir=PATH"),
        ("hydra.searchpath=[file:///tmp]", "Type --config-dir PATH"),
    ],
)
def test_N2_wrong_values(word: str, expected: str, toy: Lab) -> None:
    assert expected in refusal([word], toy)


@pytest.mark.parametrize(
    ("yaml", "nearest"),
    [
        ("model:\n  widht: 3\n", "Did you mean model.width?"),
        ("modle:\n  width: 3\n", "there is no key modle"),
        ("width: 3\n", "Did you mean model.width?"),
        ("callbacks:\n  speek:\n    words: x\n", "Did you mean callbacks.speak?"),
        ("callbacks:\n  speak:\n    wrds: x\n", "Did you mean callbacks.speak.words?"),
        ("model:\n  width: wide\n", "expected a whole number"),
        ("hydra:\n  swep: {}\n", "Did you mean hydra.sweep?"),
        ("hydra:\n  sweeper:\n    parms: {}\n", "Did you mean hydra.sweeper.params?"),
        ("hydra:\n  job_logging:\n    handlers: {}\n", "hydra.job_logging cannot be changed"),
        ("optimizer:\n  lr: ${optimizer.rl}\n", "Did you mean ${optimizer.lr}?"),
        ("callbacks:\n  more:\n    _target_: callbacks.toy.Speak\n    word: x\n", "Did you mean callbacks.more.words?"),
        ("defaults:\n  - override /modle: large\n", "modle"),
    ],
)
@pytest.mark.parametrize("group", ["experiment", "sweeps"])
def test_N2_wrong_in_files(yaml: str, nearest: str, group: str, own_root) -> None:
    file = own_root / ("sweeps" if group == "sweeps" else "conf/experiment") / "mine.yaml"
    file.write_text("# @package _global_\n" + yaml, encoding="utf-8")
    message = refusal([f"{group}=mine"], Lab(own_root))
    assert nearest in message


def test_a_file_that_is_wrong_is_named(own_root) -> None:
    (own_root / "conf/experiment/mine.yaml").write_text("# @package _global_\nmodel:\n  widht: 3\n")
    assert "experiment/mine.yaml: there is no key model.widht" in refusal(["experiment=mine"], Lab(own_root))


def test_of_inherited_files_the_wrong_one_is_named(own_root) -> None:
    (own_root / "conf/model/broken.yaml").write_text("# broken\n_target_: models.toy.Toy\nwidht: 3\n")
    (own_root / "conf/model/mine.yaml").write_text("# mine\ndefaults: [broken, _self_]\nwidth: 3\nrate: 0.1\n")
    assert "model/broken.yaml: there is no key model.widht" in refusal(["model=mine"], Lab(own_root))


def test_what_must_be_chosen_is_asked_for(own_root) -> None:
    (own_root / "conf/data/mine.yaml").write_text("_target_: datamodules.toy.Toy\npath: ???\naction: finish\nseed: 1\n")
    assert "data.path must be given.\nType: data.path=..." in refusal(["data=mine"], Lab(own_root))
    assert compose(["data=mine", "data.path=x"], Lab(own_root)).cfg.data.path == "x"


def test_several_problems_are_told_at_once(own_root) -> None:
    (own_root / "conf/experiment/mine.yaml").write_text("# @package _global_\nmodel:\n  widht: 3\n  rate: x\n")
    message = refusal(["experiment=mine"], Lab(own_root))
    assert "model.widht" in message
    assert "model.rate" in message


@pytest.mark.parametrize("given", ["{a:1}", "{}"])
def test_keys_typed_where_a_list_stands_are_told_in_words(given: str, toy: Lab) -> None:
    with pytest.raises(RequestError, match="expected a list of whole numbers or null"):
        compose(["model.sizes=[1,2]", f"model.sizes={given}"], toy)


def test_what_points_at_a_wrong_key_is_not_reported_too(toy: Lab) -> None:
    message = refusal(["seed=x"], toy)
    assert message.startswith("seed=x: expected a whole number")
    assert "data.seed" not in message


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("model.depth=5", "model.depth", 5),  # a key with a default in the code, not in the file
        ("+model.depth=5", "model.depth", 5),
        ("model.rate=1", "model.rate", 1),
        ("model.extra={a: 1}", "model.extra", {"a": 1}),
        ("model.extra.b=2.5", "model.extra", {"b": 2.5}),
        ("model.sizes=[1,2]", "model.sizes", [1, 2]),
        ("run_dir=/tmp/a=b c", "run_dir", "/tmp/a=b c"),
        ("run_dir=2024", "run_dir", "2024"),
        ("callbacks.speak.words=Hello, it's (me)", "callbacks.speak.words", "Hello, it's (me)"),
        ("callbacks.speak.words=1e3", "callbacks.speak.words", "1e3"),
        ("callbacks.speak.words='quoted'", "callbacks.speak.words", "quoted"),
        ("data.path=null", "data.path", None),
        ("callbacks.speak=null", "callbacks", {}),
        ("~callbacks.speak", "callbacks", {}),
        ("~model.rate", "model", {"_target_": "models.toy.Toy", "width": 8}),
        ("trainer.max_time=00:00:30", "trainer.max_time", "00:00:30"),
        ("trainer.max_time=1:2:3", "trainer.max_time", "1:2:3"),
        ("experiment=wide", "model.width", 16),
        ("optimizer.lr=1e-3", "optimizer.lr", 0.001),
    ],
)
def test_typed_right(word: str, key: str, value: object, toy: Lab) -> None:
    node = compose([word], toy).cfg
    for name in key.split("."):
        node = node[name]
    assert node == value


def test_the_command_line_wins_over_an_experiment(toy: Lab) -> None:
    assert compose(["experiment=wide", "model.width=3"], toy).cfg.model.width == 3
    assert compose(["model.width=3", "experiment=wide"], toy).cfg.model.width == 3


def test_keys_of_a_task(toy: Lab) -> None:
    assert compose(["task=say", "prompt=What, me?", "top_k=3"], toy).cfg.prompt == "What, me?"
    assert "top_k=a: expected a whole number or null" in refusal(["task=say", "top_k=a"], toy)


def test_objective_and_data_must_fit(toy: Lab) -> None:
    assert compose(["objective=pairwise"], toy).choices["data"] == "pairs", "an objective chooses its data"
    message = refusal(["objective=pairwise", "data=plain"], toy)  # and the command line wins
    assert "objective=pairwise and data=plain do not go together" in message
    assert "needs pairs; data=plain provides tokens" in message
    assert "Data that would do: pairs.\nType: data=pairs" in message


@pytest.mark.parametrize(
    "key", ["run_dir", "init_from", "resume", "rerun", "data.path", "model.act", "trainer.max_time"]
)
@pytest.mark.parametrize("value", ["", "''"])
def test_F18_an_empty_value_is_no_value(key: str, value: str, toy: Lab) -> None:
    message = refusal([f"{key}={value}"], toy)
    assert message.startswith(f"{key}= is empty, as an unset shell variable leaves it: expected ")
    with pytest.raises(RequestError, match=f"{key}= is empty"):
        compose([f"{key}={value}", "seed=1,2"], toy, multirun=True)


def test_F18_an_empty_text_may_mean_something(toy: Lab) -> None:
    assert compose(["task=say", "prompt="], toy).cfg.prompt == ""


@pytest.mark.parametrize("place", ["/", "HOME", "HOME/..", ".", "..", "LAB", "LAB/.."])
def test_F18_a_run_gets_no_folder_that_is_taken(place: str, toy: Lab, tmp_path, monkeypatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    folder = place.replace("HOME", str(tmp_path / "home")).replace("LAB", str(toy.root))
    assert "a run needs a folder of its own" in refusal([f"run_dir={folder}"], toy)


def test_F18_run_dir_is_a_folder(toy: Lab, tmp_path) -> None:
    (tmp_path / "file").touch()
    assert "is a file" in refusal([f"run_dir={tmp_path / 'file'}"], toy)
    assert compose([f"run_dir={tmp_path / 'new'}"], toy).cfg.run_dir == str(tmp_path / "new")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("run_dir=" + "a" * 300, "a name of 300 bytes"),
        ("init_from=outputs/" + "a" * 300, "a name of 300 bytes"),
        ("resume=" + "a/" * 3000, "longer than a file's may be"),
        ("model=" + "a" * 300, "(300 characters): there is no such option"),
        ("a" * 300 + "=1", "(300 characters)."),
        ("model.width=" + "[" * 3000 + "]" * 3000, "brackets within brackets"),
        ("model.width=" + "[" * 3000, "expected a whole number"),
        ("model.width=" + "1" * 5000, "too many digits"),
        ("model.width=" + "1" * 30, "expected a whole number"),
        ("data.path=${", "begins the name of another key"),
        ("data.path=${seed", "begins the name of another key"),
        ("data.path=a\udcffb", r"data.path=a\udcffb is not valid UTF-8"),
        ("a\udcff=1", "is not valid UTF-8"),
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_F23_strange_words_are_refused_in_plain_ones(word: str, expected: str, toy: Lab) -> None:
    message = refusal([word], toy)
    assert expected in message
    assert len(message) < 1500
    message.encode()


def test_a_dollar_and_a_brace_may_be_meant(toy: Lab) -> None:
    assert compose(["data.path='\\${'"], toy).cfg.data.path == "${"


def test_F41_each_job_is_checked_against_its_own_config(own_root) -> None:
    (own_root / "conf/model/other.yaml").write_text(
        "# other\n_target_: optimization.toy.sgd\nlr: 1.0  # rate\nnesterov: true  # or not\n"
    )
    lab = Lab(own_root)
    compose(["model=large,other", "model.width=3"], lab, multirun=True)
    with pytest.raises(RequestError, match=r"job 1 of the sweep[^:]*:\nmodel.width=3: there is no key model.width"):
        check_jobs(parse(["model=large,other", "model.width=3"], lab, multirun=True), lab)
    jobs = check_jobs(parse(["model=other", "model.lr=1,2"], lab, multirun=True), lab)
    assert [job.cfg.model.lr for job in jobs] == [1, 2], "a key that the default model lacks"
    compose(["model=other,other", "model.lr=2"], lab, multirun=True)


@pytest.mark.parametrize(
    "words",
    [
        ["seed=range(0,100000)", "model.width=range(0,100000)"],
        ["model=range(0,100000000000)"],
        ["seed=range(0,100)", "model.width=range(1,50)"],
    ],
)
def test_F25_a_sweep_has_an_end(words: list[str], toy: Lab) -> None:
    with pytest.raises(RequestError, match="more than 2,000 jobs"):
        compose(words, toy, multirun=True)
    with pytest.raises(RequestError, match="more than 2,000 jobs"):
        check_jobs(parse(words, toy, multirun=True), toy)


@pytest.mark.parametrize("word", ["crawl=[1]", "crawl=3", "crawl=null"])
def test_F23_a_section_is_no_value(word: str) -> None:
    """A section of the task's own came as far as the task."""
    assert "is a section. Set its keys one by one." in refusal(["task=crawl", word], Lab(Path(__file__).parents[2]))


def test_F23_a_list_where_keys_stand_is_refused_by_the_crawl() -> None:
    """A traceback of OmegaConf, which merged them before anything was checked."""
    from crawl.options import check

    plan = compose(["task=crawl", "crawl.filters.repeated_ngrams=[[1],2]"], Lab(Path(__file__).parents[2]))
    with pytest.raises(RequestError, match=r"is a section\. Set its keys one by one"):
        check(OmegaConf.to_container(plan.cfg.crawl))  # type: ignore[arg-type]


def test_F23_an_option_holds_keys(own_root) -> None:
    (own_root / "conf/model/mine.yaml").write_text("[1, 2]\n", encoding="utf-8")
    assert refusal(["model=mine"], Lab(own_root)) == (
        "model=mine: its file holds a list, where the keys of an option belong."
    )


def test_glob_stands_for_the_options_of_a_group(toy: Lab) -> None:
    """Hydra's own loader, which it asked for them, is not there where jobs are counted: a traceback."""
    found = {o.text for o in parse(["model=glob(*)"], toy, multirun=True)}
    assert found == {f"model={','.join(toy.groups['model'])}"}
    assert "none" in refusal(["model=glob(x*)"], toy)
    with pytest.raises(RequestError, match=r"seed=glob\(\*\): glob.* chooses among the options of a group"):
        parse(["seed=glob(*)"], toy, multirun=True)


def test_F29_a_working_folder_that_is_gone_is_told(tmp_path: Path, toy_root: Path, monkeypatch, capsys) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main([], root=toy_root) == 2
    assert "the working folder is not there any more" in capsys.readouterr().err
