"""Cases of folders: runs, sweeps, token files and caches that are damaged, and the user's own."""

import os
import shutil
from pathlib import Path
from random import Random

from cases import Case, inside, kind
from yard import MODEL, ON_TEXT, RUNS, SHORT


@kind(22)
def a_run_folder(rng: Random, folder: Path) -> Case:
    name = rng.choice([*RUNS, "answers"])
    run = f"runs/{name}"
    damage = inside(rng, folder / run)
    what = rng.choice(
        (
            *(f"resume={run}", f"resume={run} trainer.max_steps=4", f"rerun={run}", f"task=report runs={run}"),
            *(f"task=generate init_from={run} prompt=The max_new_tokens=4", f"task=evaluate init_from={run}"),
            *(f"task=export init_from={run}", f"task=inspect init_from={run}", f"task=check init_from={run}"),
            *(f"task=inspect inspect.view=attention init_from={run}", f"task=chat init_from={run}"),
            *(f"task=inspect inspect.view=errors inspect.predictions={run}", f"task=report runs=[{run},runs/gpt]"),
            *(
                f"task=inspect inspect.view=rollouts init_from={run}",
                f"task=inspect inspect.view=routing init_from={run}",
            ),
            *(f"task=inspect inspect.view=boosting init_from={run}", f"init_from={run} trainer.max_steps=1"),
            *(f"init_from={run}/checkpoints/last.ckpt task=generate max_new_tokens=2",),
        )
    )
    return Case([*what.split()], writes=(run,), damage=list(damage), may_be_long=damage[0].startswith(".hydra"))


@kind(8)
def token_files(rng: Random, folder: Path) -> Case:
    damage = inside(rng, folder / "tokens")
    words = ["data=bin", "data.path=tokens", *MODEL, *SHORT, *rng.choice(([], ["data.doc_mask=true"], ["task=check"]))]
    again = ["task=prepare", *ON_TEXT, "data.out=tokens"]
    return Case(rng.choice((words, words, words, again)), writes=("tokens",), damage=list(damage))


@kind(6)
def a_cache(rng: Random, folder: Path) -> Case:
    damage = inside(rng, folder / "cache")
    return Case([*MODEL, *SHORT, *ON_TEXT], writes=("cache",), damage=list(damage))


@kind(8)
def a_sweep(rng: Random, folder: Path) -> Case:
    damage = inside(rng, folder / "sweep")
    what = rng.choice(("task=report runs=sweep", "task=report runs=sweep report.style=paper", "resume=sweep"))
    return Case(what.split(), writes=("sweep",), damage=list(damage), may_be_long=True)


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
