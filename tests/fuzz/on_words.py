"""Cases of what is typed: keys, groups, syntax, help; signals and screens while words work."""

from pathlib import Path
from random import Random

import mangling
from cases import PATHS_OF_OURS, SIGNALS, Case, groups, keys_of, kind, recipe_of
from yard import RUNS


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


@kind(14)
def a_signal(rng: Random, folder: Path) -> Case:
    words = list(recipe_of(rng))
    if rng.random() < 0.2:
        words = ["resume=runs/gpt", "trainer.max_steps=50"]
    if rng.random() < 0.2:
        words = ["-m", "seed=1,2", *RUNS["gpt"]]
    shot = (rng.choice(SIGNALS), rng.random() ** 2 * 2.0)
    return Case(words, shot=shot, impatient=rng.random() < 0.3, writes=("runs/gpt",))


@kind(5)
def a_screen(rng: Random, folder: Path) -> Case:
    return Case(list(recipe_of(rng)), screen=rng.choice(("/dev/full", "closed", "/dev/null")))
