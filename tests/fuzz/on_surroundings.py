"""Cases of what is around a command: environment, limits of the system, links, files of the user's beside ours, a
second process at the same work, configs of one's own."""

import os
import shutil
from pathlib import Path
from random import Random

import mangling
from cases import Case, groups, kind, recipe_of
from tables import CONFIGS, ENVIRONMENT, ODD_NAMES
from yard import MODEL, ON_TEXT, RUNS, SHORT

from commands import hydra_text


@kind(8)
def environment(rng: Random, folder: Path) -> Case:
    names = rng.sample(list(ENVIRONMENT), rng.choice((1, 1, 2, 4)))
    if rng.random() < 0.3:
        names = ["RANK", "WORLD_SIZE", "LOCAL_RANK"]
    given = {name: rng.choice(ENVIRONMENT[name]) for name in names}
    return Case(list(recipe_of(rng)), environment=given, damage=[str(given)], may_be_long=True)


def _work(rng: Random) -> tuple[list[str], tuple[str, ...]]:
    """Something that writes, and where it may go on writing."""
    name = rng.choice(list(RUNS))
    return rng.choice(
        (
            ([*RUNS[name]], ()),
            (["resume=runs/gpt", "trainer.max_steps=6"], ("runs/gpt",)),
            (["-m", "seed=1,2", *RUNS["gpt"]], ()),
            (["task=prepare", *ON_TEXT, "data.out=new"], ()),
            (["task=prepare", *ON_TEXT, "data.out=tokens", "data.val_fraction=0.2"], ("tokens",)),
            (["task=export", "init_from=runs/llama", "hardware=cpu"], ()),
            (["task=export", "init_from=runs/llama", "hardware=cpu", "export.path=hf/llama"], ("hf/llama",)),
            (["task=export", "init_from=runs/llama", "hardware=cpu", "export.format=gguf"], ()),
            (["task=report", "runs=sweep"], ("sweep",)),
            (["task=evaluate", f"init_from=runs/{name}", "hardware=cpu"], ()),
            (["task=inspect", f"init_from=runs/{name}"], ()),
            (["task=generate", "init_from=runs/gpt", "max_new_tokens=8", "hardware=cpu"], ()),
            (["task=merge", "init_from=sweep/0-seed_1", "merge.others=[sweep/1-seed_2]", "hardware=cpu"], ()),
        )
    )


@kind(10)
def little_room(rng: Random, folder: Path) -> Case:
    """No file may grow beyond a size: as on a full disk, a write comes back with an error, at any place."""
    words, writes = _work(rng)
    size = int(2 ** rng.uniform(10, 18))
    return Case(words, writes=writes, limits={"file": size}, damage=[f"files end at {size:,} bytes"])


@kind(5)
def little_memory(rng: Random, folder: Path) -> Case:
    words, writes = _work(rng)
    more = int(2 ** rng.uniform(18, 27))
    return Case(words, writes=writes, limits={"memory": more}, damage=[f"{more:,} bytes more, no further"])


@kind(5)
def few_descriptors(rng: Random, folder: Path) -> Case:
    words, writes = _work(rng)
    if rng.random() < 0.3:
        words = [*words, "data.workers=2"] if words[0].startswith("model.") else words
    return Case(words, writes=writes, limits={"descriptors": rng.randint(8, 40)})


@kind(6)
def twice(rng: Random, folder: Path) -> Case:
    """Two processes begin the same at one time."""
    words, writes = _work(rng)
    if not writes and not any(word.startswith("data.out") for word in words):
        words = [*words, f"run_dir={rng.choice(('new', 'outputs/new'))}"]
    if rng.random() < 0.5:
        shutil.rmtree(folder / "cache")
    return Case(words, writes=writes, twice=True)


@kind(8)
def links(rng: Random, folder: Path) -> Case:
    """A file or folder where ours goes is a link to one of the user's."""
    words, writes = _work(rng)
    place = rng.choice(("runs/gpt", "runs/gpt", "sweep", "tokens", "cache", "hf/llama", "sweep/0-seed_1"))
    found = sorted(path for path in (folder / place).rglob("*") if not path.is_symlink())
    path = rng.choice(found)
    to = folder / "mine" / rng.choice(("thesis.txt", "metrics.csv", "config.json", "tokenizer", "nothing"))
    _remove(path)
    path.symlink_to(os.path.relpath(to, path.parent) if rng.random() < 0.5 else to)
    return Case(words, writes=writes, damage=[f"{path.relative_to(folder)} leads to {to.relative_to(folder)}"])


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@kind(8)
def strangers_inside(rng: Random, folder: Path) -> Case:
    """Files of the user's in folders that we fill, empty or replace."""
    words, writes = _work(rng)
    if rng.random() < 0.3:
        writes = (f"runs/{rng.choice(list(RUNS))}",)
        words = ["task=runs", f"runs.delete=[{writes[0]}]", "runs.confirm=true"]
    names = (
        "thesis.txt",
        "plan.md",
        "notes.html",
        "old/checkpoint.pt",
        "data.csv",
        "train.txt",
        "my model.safetensors",
    )
    places = [*writes, "tokens", "cache", "sweep", "hf/llama", "runs/gpt", "new", "outputs", "outputs/new"]
    keeps = []
    for _ in range(rng.choice((1, 2, 3))):
        path = folder / rng.choice(places) / rng.choice(names)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine\n")
        keeps.append(path.relative_to(folder).as_posix())
    if rng.random() < 0.3 and not writes:
        words = [*words, "run_dir=new"]
    return Case(words, writes=writes, keeps=tuple(keeps), damage=keeps)


@kind(8)
def odd_names(rng: Random, folder: Path) -> Case:
    """Folders and files as people call them, typed as they are."""
    name = rng.choice(ODD_NAMES)
    (folder / "runs/gpt").rename(folder / f"runs/{name}")
    shutil.copy(folder / "text.txt", folder / f"{name}.txt")  # the run that is resumed reads the first
    start = [f"init_from=runs/{name}", "hardware=cpu"]
    text = [f"data.path={name}.txt" if word.startswith("data.path") else word for word in RUNS["gpt"]]
    words = rng.choice(
        (
            ["task=generate", *start, "max_new_tokens=2"],
            ["task=export", *start, f"export.path={name}"],
            ["task=runs", "runs.of=runs", f"runs.compare=[{hydra_text(f'runs/{name}')},runs/moe]"],
            ["task=report", f"runs=[{hydra_text(f'runs/{name}')},runs/moe]"],
            [f"resume=runs/{name}", "trainer.max_steps=3"],
            [*text, f"run_dir={name}"],
            [*text, f"data.cache_dir={name}"],
        )
    )
    return Case(words, writes=(f"runs/{name}",) if words[0].startswith("resume") else (), works=True)


@kind(8)
def configs_of_mine(rng: Random, folder: Path) -> Case:
    group = rng.choice([*groups(), "nope", "sweeps"])
    place = folder / "mine/conf" / group
    place.mkdir(parents=True)
    content = rng.choice(CONFIGS)
    if rng.random() < 0.4:
        content = mangling.text(rng, rng.choice(CONFIGS[:6]))
    name = rng.choice(("mine.yaml", "mine.yaml", "mine.yml", "gpt.yaml", "MINE.YAML", "mi ne.yaml"))
    (place / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    words = ["--config-dir", "mine/conf", *MODEL, *SHORT, *ON_TEXT, f"{group}={Path(name).stem}"]
    more = rng.choice(
        ([], [], ["task=check"], ["--help"], ["--cfg", "job"], ["-m", "seed=1,2"], ["--help", f"{group}=mine"])
    )
    return Case([*words, *more], damage=[f"{group}/{name}: {content!r}"[:300]], may_be_long=True)


@kind(5)
def picked_weights(rng: Random, folder: Path) -> Case:
    """A checkpoint, and weights of others, that would run code where pickles are trusted."""
    payload = _pickle("touch PWNED")
    file = folder / rng.choice(
        ("runs/gpt/checkpoints/last.ckpt", "runs/sft/checkpoints/best.ckpt", "hf/gpt/pytorch_model.bin")
    )
    given = file.read_bytes() if file.exists() else b""
    file.write_bytes(_zipped(rng, given, payload) if given[:2] == b"PK" and rng.random() < 0.6 else payload)
    run = "/".join(file.relative_to(folder).parts[:2])
    if run.startswith("hf/"):
        (folder / run / "model.safetensors").unlink(missing_ok=True)
    words = rng.choice(
        (
            ["task=generate", f"init_from={run}", "max_new_tokens=2"],
            [f"init_from={file.relative_to(folder)}", *SHORT, *ON_TEXT],
            [f"resume={run}"],
            ["task=export", f"init_from={run}"],
            ["task=evaluate", f"init_from={run}"],
        )
    )
    return Case(words, writes=(run,) if words[0].startswith("resume") else ())


def _pickle(command: str) -> bytes:
    return b"cos\nsystem\n(V" + command.encode() + b"\ntR."


def _zipped(rng: Random, given: bytes, payload: bytes) -> bytes:
    """torch's archive with another pickle in it."""
    import io
    import zipfile

    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(given)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            new.writestr(entry, payload if entry.filename.endswith("data.pkl") else old.read(entry))
    return made.getvalue()
