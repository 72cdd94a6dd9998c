"""A case: what is typed, in a folder of which some parts are damaged. All of it follows from a seed and a number."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

import mangling
from forked import ROOT
from yard import BPE, MODEL, ON_TEXT, ROWS, RUNS, SHORT

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL)
PATHS_OF_OURS = ("run_dir", "data.out", "data.cache_dir", "export.path", "hydra.sweep.dir", "hydra.run.dir")


@dataclass
class Case:
    """One command line. `may_be_long`: a number typed may ask for hours; it is enough that it stops when asked to."""

    words: list[str]
    program: str = "run"
    screen: str = ""
    shot: tuple[int, float] | None = None
    may_be_long: bool = False
    writes: tuple[str, ...] = ()  # folders of runs that the command may go on writing into
    damage: list[str] = field(default_factory=list)


Maker = Callable[[Random, Path], Case]
KINDS: dict[Maker, int] = {}  # with their weights


def kind(weight: int) -> Callable[[Maker], Maker]:
    def note(maker: Maker) -> Maker:
        KINDS[maker] = weight
        return maker

    return note


def make(seed: int, number: int, yard: Path, folder: Path) -> tuple[str, Case]:
    """Lays out `folder` for case `number` and returns what is typed there, with the name of its kind."""
    rng = Random(f"{seed}:{number}")
    maker = rng.choices(list(KINDS), list(KINDS.values()))[0]
    shutil.copytree(yard, folder, symlinks=True)
    return maker.__name__, maker(rng, folder)


@cache
def keys_of(recipe: tuple[str, ...]) -> list[str]:
    """Every key that may be typed beside these words."""
    from launcher.config.compose import compose
    from launcher.config.schema import Schema
    from launcher.lab import Lab

    plan = compose([word for word in recipe if not word.startswith("init_from=")], Lab(ROOT))
    return list(Schema(plan.cfg, plan.choices, Lab(ROOT)).valid_keys())


@cache
def groups() -> dict[str, list[str]]:
    from launcher.lab import Lab

    return {group: list(options) for group, options in Lab(ROOT).groups.items()}


def recipe_of(rng: Random) -> tuple[str, ...]:
    """Words that work, of any task."""
    name = rng.choice(list(RUNS))
    looking = (
        *("task=generate prompt=The max_new_tokens=4", "task=evaluate", "task=export", "task=check", "task=inspect"),
        *(
            "task=inspect inspect.view=attention",
            "task=inspect inspect.view=positions",
            "task=evaluate benchmark=arithmetic",
        ),
        *("task=inspect inspect.view=tokenizer", "task=chat", "task=evaluate evaluate.past_context=64"),
    )
    return rng.choice(
        (
            RUNS[name],
            ("task=check", *RUNS[name]),
            (*rng.choice(looking).split(), f"init_from=runs/{name}", "hardware=cpu"),
            ("task=report", "runs=sweep"),
            ("task=prepare", *ON_TEXT, "data.out=new"),
            (*MODEL, *SHORT, *ON_TEXT, *BPE),
            ("task=crawl", "crawl.start_urls=[http://127.0.0.1:9/]", "crawl.contact=me@example.org", "crawl.retries=0"),
        )
    )


@kind(30)
def a_key(rng: Random, folder: Path) -> Case:
    recipe = recipe_of(rng)
    typed = []
    for key in rng.sample(keys_of(recipe), rng.choice((1, 1, 1, 2))):
        value = mangling.value(rng)
        if key in PATHS_OF_OURS and value.startswith("~"):
            continue
        typed.append(f"{rng.choice(('', '', '', '', '+', '++', '~'))}{key}={value}")
    return Case([*recipe, *typed], may_be_long=True, damage=typed)


@kind(8)
def a_group(rng: Random, folder: Path) -> Case:
    group = rng.choice(list(groups()))
    option = rng.choice([*groups()[group], mangling.value(rng), mangling.text(rng, rng.choice(groups()[group]))])
    recipe = recipe_of(rng)
    task = [] if rng.random() < 0.3 or any(word.startswith("task=") for word in recipe) else ["task=check"]
    return Case([*recipe, f"{group}={option}", *task], may_be_long=True)


@kind(10)
def syntax(rng: Random, folder: Path) -> Case:
    words = list(recipe_of(rng))
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(words))
        words[at] = mangling.text(rng, words[at])
    flags = (
        *("--help", "-m", "--cfg job", "--cfg hydra", "--cfg job --resolve", "--cfg job --package model", "--info"),
        *("--config-dir mine", "--config-dir no", "--nope", "-h", "--cfg", "--package", "--hydra-help", "--info x"),
    )
    more = rng.choice(flags).split() if rng.random() < 0.5 else []
    return Case(words + more, may_be_long=True)


@kind(4)
def help_about(rng: Random, folder: Path) -> Case:
    group = rng.choice(list(groups()))
    about = [mangling.value(rng), f"{group}={rng.choice(groups()[group])}", group, f"{group}={mangling.value(rng)}"]
    return Case(["--help", *rng.choices([*about, *keys_of(RUNS["gpt"])[:40]], k=rng.choice((1, 1, 2)))])


DATA = {
    **{f"text.{end}": "data=text" for end in ("txt", "txt.gz", "txt.zst")},
    **{f"texts.{end}": "data=text" for end in ("jsonl", "json", "csv", "tsv", "parquet", "arrow")},
    **{f"texts.{end} ": "data=hf" for end in ("jsonl", "csv", "parquet", "arrow")},
    **{f"chat.{end}": "data=chat objective=sft" for end in ("jsonl", "json", "parquet")},
    **{f"alpaca.{end}": "data=chat objective=sft" for end in ("jsonl", "csv", "tsv", "parquet")},
    "alpaca.jsonl ": "data=source_target objective=sft data.source=instruction data.target=output",
    **{
        f"pairs.{end}": "data=preference objective=dpo objective.sft_steps=2"
        for end in ("jsonl", "json", "csv", "parquet")
    },
    **{f"pairs.{end} ": "data=preference objective=reward objective.sft_steps=2" for end in ("jsonl", "parquet")},
    **{
        f"labels.{end}": "data=preference_labels objective=kto objective.sft_steps=2"
        for end in ("jsonl", "csv", "parquet")
    },
}


@kind(25)
def a_data_file(rng: Random, folder: Path) -> Case:
    name = rng.choice(list(DATA))
    file = folder / name.strip()
    damage = [mangling.file(rng, file) for _ in range(rng.choice((1, 1, 2))) if file.is_file()]
    if rng.random() < 0.2 and file.exists():  # in a folder, and as a mixture
        (folder / "docs").mkdir()
        shutil.move(file, folder / "docs")
        file = folder / "docs"
    where = f"data.path={file.relative_to(folder)}"
    words = [*DATA[name].split(), where, *MODEL, *SHORT, *ROWS]
    if "data=text" in words and rng.random() < 0.15:
        paths = f"data.paths={{a: {file.relative_to(folder)}, b: text.txt}}"
        words = ["data=mixture", paths, *(word for word in words if not word.startswith(("data=", "data.path")))]
    task = rng.choice(([], [], [], ["task=check"], ["task=inspect"], ["task=prepare", "data.out=new"]))
    if task[:1] == ["task=prepare"] and not set(words) & {"data=text", "data=hf"}:
        task = []
    return Case([*words, *task, *rng.choice(([], [], ["tokenizer=char"], list(BPE)))], damage=[name, *damage])


def _inside(rng: Random, folder: Path) -> tuple[str, str]:
    """Damages one of the files below; its name and how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    file = rng.choice(files)
    return str(file.relative_to(folder)), mangling.file(rng, file)


@kind(22)
def a_run_folder(rng: Random, folder: Path) -> Case:
    name = rng.choice([*RUNS, "answers"])
    run = f"runs/{name}"
    damage = _inside(rng, folder / run)
    what = rng.choice(
        (
            *(f"resume={run}", f"resume={run} trainer.max_steps=4", f"rerun={run}", f"task=report runs={run}"),
            *(f"task=generate init_from={run} prompt=The max_new_tokens=4", f"task=evaluate init_from={run}"),
            *(f"task=export init_from={run}", f"task=inspect init_from={run}", f"task=check init_from={run}"),
            *(f"task=inspect inspect.view=attention init_from={run}", f"task=chat init_from={run}"),
            *(f"task=inspect inspect.view=errors inspect.predictions={run}", f"task=report runs=[{run},runs/gpt]"),
            *(f"task=inspect inspect.view=boosting init_from={run}", f"init_from={run} trainer.max_steps=1"),
            *(f"init_from={run}/checkpoints/last.ckpt task=generate max_new_tokens=2",),
        )
    )
    return Case([*what.split()], writes=(run,), damage=list(damage), may_be_long=damage[0].startswith(".hydra"))


@kind(14)
def a_model_of_others(rng: Random, folder: Path) -> Case:
    name = rng.choice(("gpt", "llama", "moe"))
    damage = _inside(rng, folder / "hf" / name)
    start = f"init_from=hf/{name}"
    text = [*ON_TEXT, *SHORT]
    what = rng.choice(
        (
            [start, *text],
            [start, "task=check", *text],
            [start, "task=generate", "prompt=The", "max_new_tokens=4", "hardware=cpu"],
            [start, "task=evaluate", *text],
            [start, "task=export", "hardware=cpu"],
            ["model=hf", f"model.path=hf/{name}", "model.seq_len=32", *text],
            ["tokenizer=hf", f"tokenizer.name=hf/{name}", *MODEL, *text],
            [start, "objective=sft", "data=chat", "data.path=chat.jsonl", *SHORT],
        )
    )
    return Case(what, damage=list(damage))


@kind(8)
def a_template(rng: Random, folder: Path) -> Case:
    template = rng.choice(
        [*mangling.TEMPLATES, mangling.text(rng, "{% for m in messages %}{{ m.content }}{% endfor %}")]
    )
    (folder / "hf/llama/chat_template.jinja").write_text(template, encoding="utf-8", errors="surrogateescape")
    chat = ["objective=sft", "data=chat", "data.path=chat.jsonl", "tokenizer=hf", "tokenizer.name=hf/llama"]
    what = rng.choice(
        (
            [*chat, *MODEL, *SHORT],
            [*chat, *MODEL, *SHORT, "task=check"],
            ["task=chat", "init_from=hf/llama", "hardware=cpu"],
            [
                "objective=dpo",
                "objective.sft_steps=2",
                "data=preference",
                "data.path=pairs.jsonl",
                *chat[3:],
                *MODEL,
                *SHORT,
            ],
        )
    )
    return Case(what, damage=[template[:200]])


@kind(8)
def token_files(rng: Random, folder: Path) -> Case:
    damage = _inside(rng, folder / "tokens")
    words = ["data=bin", "data.path=tokens", *MODEL, *SHORT, *rng.choice(([], ["data.doc_mask=true"], ["task=check"]))]
    again = ["task=prepare", *ON_TEXT, "data.out=tokens"]
    return Case(rng.choice((words, words, words, again)), writes=("tokens",), damage=list(damage))


@kind(6)
def a_cache(rng: Random, folder: Path) -> Case:
    damage = _inside(rng, folder / "cache")
    return Case([*MODEL, *SHORT, *ON_TEXT], writes=("cache",), damage=list(damage))


@kind(8)
def a_sweep(rng: Random, folder: Path) -> Case:
    damage = _inside(rng, folder / "sweep")
    what = rng.choice(("task=report runs=sweep", "task=report runs=sweep report.style=paper", "resume=sweep"))
    return Case(what.split(), writes=("sweep",), damage=list(damage), may_be_long=True)


@kind(6)
def a_corpus(rng: Random, folder: Path) -> Case:
    damage = _inside(rng, folder / "crawled")
    data = ["data=crawl", "data.path=crawled", "data.cache_dir=cache", "data.prepare_workers=0", *MODEL, *SHORT]
    warc = ["spider=warc", "warc_files=[crawled/page.warc]", "contact=me@example.org", "output=new", "processes=1"]
    if damage[0] == "page.warc":
        return Case(warc, program="crawl", damage=list(damage))
    return Case(data, damage=list(damage))


@kind(3)
def a_crawl(rng: Random, folder: Path) -> Case:
    words = [
        "start_urls=[http://127.0.0.1:9/]",
        "contact=me@example.org",
        "allow_private=true",
        "retries=0",
        "output=new",
    ]
    at = rng.randrange(len(words))
    key = words[at].partition("=")[0]
    words[at] = f"{key}={mangling.value(rng)}" if rng.random() < 0.5 else mangling.text(rng, words[at])
    return Case(words, program="crawl", damage=[words[at]], may_be_long=True)


@kind(8)
def a_folder_of_mine(rng: Random, folder: Path) -> Case:
    words = rng.choice(
        (
            [*RUNS["gpt"], "run_dir=mine"],
            ["task=prepare", *ON_TEXT, "data.out=mine"],
            ["task=export", "init_from=runs/gpt", "export.path=mine"],
            ["resume=mine"],
            ["rerun=mine"],
            ["task=report", "runs=mine"],
            ["-m", "seed=1,2", *RUNS["gpt"], "run_dir=mine"],
            ["init_from=mine", *RUNS["gpt"]],
            [*RUNS["gpt"], "data.cache_dir=mine"],
            ["data=bin", "data.path=mine", *MODEL, *SHORT],
            ["data=crawl", "data.path=mine", *MODEL, *SHORT],
            ["task=crawl", "run_dir=mine", "crawl.start_urls=[http://127.0.0.1:9/]", "crawl.contact=me@a.org"],
            ["tokenizer=hf", "tokenizer.name=mine", *RUNS["gpt"]],
            ["task=generate", "init_from=runs/gpt", "run_dir=mine"],
        )
    )
    mine = folder / "mine"
    for name in rng.sample(sorted(os.listdir(mine)), rng.randrange(4)):
        (shutil.rmtree if (mine / name).is_dir() else os.unlink)(mine / name)
    if rng.random() < 0.3:
        words = [
            word.replace("=mine", "=" + rng.choice(("mine/thesis.txt", "mine/../mine", "mine/new", "./mine/")))
            for word in words
        ]
    return Case(words)


@kind(14)
def a_signal(rng: Random, folder: Path) -> Case:
    words = list(recipe_of(rng))
    if rng.random() < 0.2:
        words = ["resume=runs/gpt", "trainer.max_steps=50"]
    if rng.random() < 0.2:
        words = ["-m", "seed=1,2", *RUNS["gpt"]]
    return Case(words, shot=(rng.choice(SIGNALS), rng.random() ** 2 * 2.0), writes=("runs/gpt",))


@kind(5)
def a_screen(rng: Random, folder: Path) -> Case:
    return Case(list(recipe_of(rng)), screen=rng.choice(("/dev/full", "closed", "/dev/null")))
