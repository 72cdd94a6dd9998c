"""Cases of tasks that answer, judge, list and merge: serve, runs, merge, chat, guided texts, rewards, benchmarks."""

from pathlib import Path
from random import Random

import mangling
from cases import Case, inside, kind
from tables import ASKED, LINES, NAMED, PATHS, REGEXES, REWARDS, SCHEMAS, WHERE
from yard import MODEL, RUNS, SHORT


@kind(8)
def served(rng: Random, folder: Path) -> Case:
    damage = [*inside(rng, folder / "runs" / rng.choice(list(RUNS)))] if rng.random() < 0.6 else []
    words = ["task=serve", "serve.port=0", "hardware=cpu", f"serve.runs={rng.choice(('runs', 'runs', '.', 'sweep'))}"]
    if rng.random() < 0.3:
        words.append(f"init_from=runs/{rng.choice(list(RUNS))}")
    if rng.random() < 0.3:
        name = rng.choice(("host", "port", "token_file", "runs", "loaded", "rows", "waiting", "max_new_tokens"))
        words.append(f"serve.{name}={mangling.value(rng)}")
    asks = []
    for _ in range(3):
        body, path = rng.choice(ASKED), rng.choice(PATHS)
        verb = "POST" if body and "v1/m" not in path else rng.choice(("GET", "GET", "PUT", "DELETE"))
        head = f"{verb} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        asks.append(head.encode() + body)
    return Case(words, asks=tuple(asks), damage=damage, may_be_long=True)


@kind(10)
def listed(rng: Random, folder: Path) -> Case:
    """A removal may take what is ours of the run that it names, never more."""
    damage = [*inside(rng, folder / "runs" / rng.choice(list(RUNS)))] if rng.random() < 0.7 else []
    of = rng.choice(("runs", "runs", ".", "sweep", "runs/gpt", "mine"))
    name = rng.choice(list(RUNS))
    (folder / f"runs/{name}/thesis.txt").write_text("mine\n")
    keeps = (f"runs/{name}/thesis.txt",)
    what = rng.choice(
        (
            [
                f"runs.where='{rng.choice(WHERE)}'",
                f"runs.sort={rng.choice(('-time', 'val/loss', '-size', 'x', '-', ''))}",
            ],
            [f"runs.compare={_quoted(rng.choice(NAMED))}"],
            [f"runs.delete={_quoted(rng.choice(NAMED))}"],
            [f"runs.{rng.choice(('where', 'sort', 'most', 'compare', 'delete', 'of'))}={mangling.value(rng)}"],
            [f"runs.delete=[runs/{name}]", "runs.confirm=true"],
            [f"runs.delete=runs/{name}/", "runs.confirm=true"],
            ["runs.delete=listed", f"runs.where='{rng.choice(WHERE)}'", "runs.confirm=true"],
        )
    )
    placed = [path for place in ("runs", "sweep") for path in (folder / place).iterdir() if path.is_dir()]
    runs = [path.relative_to(folder).as_posix() for path in placed]
    writes = tuple(runs) if "runs.confirm=true" in what else ()
    return Case(["task=runs", f"runs.of={of}", *what], writes=writes, keeps=keeps, damage=damage)


def _quoted(value: str) -> str:
    return value if value.startswith("[") else '"' + value + '"'


@kind(6)
def merged(rng: Random, folder: Path) -> Case:
    jobs = sorted(path.name for path in (folder / "sweep").iterdir() if path.name[0].isdigit())
    others = [f"sweep/{job}" for job in jobs] + ["runs/gpt", "runs/moe", "runs/gbft", "runs/lora"]
    first, second = rng.choice(others), rng.choice(others)
    damage = inside(rng, folder / rng.choice((first, second)))
    words = ["task=merge", f"init_from={first}", f"merge.others=[{second}]", "hardware=cpu"]
    if rng.random() < 0.3:
        words.append(f"merge.{rng.choice(('others', 'weights'))}={mangling.value(rng)}")
    return Case(words, damage=[*damage])


@kind(8)
def talked_to(rng: Random, folder: Path) -> Case:
    words = ["task=chat", f"init_from=runs/{rng.choice(('sft', 'sft', 'dpo', 'kto', 'gpt', 't5'))}", "max_new_tokens=4"]
    more = ("tools=[calculator]", "system='be short'", "template=plain", "template=alpaca", "temperature=0", "regex=a*")
    words += ["hardware=cpu", *rng.sample(more, rng.choice((0, 1, 2)))]
    if rng.random() < 0.4:
        name = rng.choice(("system", "max_new_tokens", "temperature", "top_k", "top_p", "tools", "schema", "regex"))
        words.append(f"{name}={mangling.value(rng)}")
    typed = b"\n".join(rng.choices(LINES, k=3)) + rng.choice((b"\n", b"\n\n", b""))
    return Case(words, typed=typed, damage=[repr(typed[:200])], may_be_long=True)


@kind(10)
def guided(rng: Random, folder: Path) -> Case:
    words = [
        "task=generate",
        f"init_from=runs/{rng.choice(('gpt', 'llama', 'sft'))}",
        "max_new_tokens=8",
        "hardware=cpu",
    ]
    if rng.random() < 0.4:
        return Case([*words, f"regex={_literal(rng.choice(REGEXES))}"], may_be_long=True)
    schema = rng.choice(SCHEMAS)
    if rng.random() < 0.5:
        good = {
            "type": "object",
            "properties": {"a": {"type": "string", "maxLength": 3}},
            "additionalProperties": False,
        }
        schema = mangling.tree(rng, good)
    content = mangling.json_text(schema)
    if rng.random() < 0.2:
        content = mangling.content(rng, content)
    (folder / "schema.json").write_bytes(content)
    return Case([*words, "schema=schema.json"], damage=[repr(content[:300])], may_be_long=True)


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@kind(10)
def rewarded(rng: Random, folder: Path) -> Case:
    words = list(RUNS[rng.choice(("grpo", "grpo", "verifier"))])
    damage: list[str] = []
    if "objective=grpo" in words:
        words[0] = rng.choice(("objective=grpo", "objective=rloo", "objective=ppo objective.reward_steps=1"))
        words = [part for word in words for part in word.split(" ")]
    if "objective=verifier" in words and rng.random() < 0.7:
        damage = [*inside(rng, folder / "runs/answers")]
        words += ["data.path=runs/answers", "data.val_fraction=0.5"]
    elif rng.random() < 0.5:
        words = [word for word in words if not word.startswith("reward")]
        words += [f"reward={rng.choice(REWARDS)}"]
        if "format" in words[-1]:
            words.append(f"reward.format.pattern={_literal(rng.choice(REGEXES))}")
        if words[-1] in ("reward=reward_model", "reward=verifier"):
            part = words[-1].removeprefix("reward=")
            where = rng.choice(("runs/reward", "runs/verifier", "runs/gpt", "mine", "no/such", "runs/answers"))
            words.append(f"reward.{part}.run={where}")
    else:
        name = rng.choice(("data", "objective", "trainer", "reward"))
        keys = {
            "data": ("pairs", "val_pairs", "max_steps", "max_number", "batch_size", "template"),
            "objective": ("prompts", "group", "rows", "epochs", "minibatches", "kl", "truncated", "max_new_tokens"),
            "trainer": ("max_steps", "val_every", "monitor", "patience"),
            "reward": ("format.weight", "format.pattern", "format", "answer.weight"),
        }
        words.append(f"{name}.{rng.choice(keys[name])}={mangling.value(rng)}")
    return Case(words, damage=damage, may_be_long=True)


@kind(10)
def asked_problems(rng: Random, folder: Path) -> Case:
    """A benchmark out of a file of one's own, with answers that are drawn, judged and drawn again."""
    name = rng.choice(("problems.jsonl", "problems.json", "problems.csv", "problems.parquet"))
    damage = [mangling.file(rng, folder / name)] if rng.random() < 0.8 else []
    judge = rng.choice(("calculator", "likelihood", "runs/verifier", "runs/reward", "runs/gpt", "mine", "nobody"))
    key = rng.choice(("shots", "limit", "samples", "mode", "template", "accept"))
    how = rng.choice(
        (
            [],
            ["evaluate.samples=2"],
            ["evaluate.samples=2", f"evaluate.rerank={judge}"],
            ["evaluate.retry=1", f"evaluate.rerank={judge}"],
            ["evaluate.shots=2"],
            ["evaluate.beams=2"],
            ["evaluate.tools=[calculator]"],
            [f"evaluate.{key}={mangling.value(rng)}"],
            [f"benchmark.{rng.choice(('split', 'first', 'columns', 'name'))}={mangling.value(rng)}"],
        )
    )
    words = ["task=evaluate", f"benchmark={rng.choice(('gsm8k', 'gsm8k', 'svamp', 'arc', 'squad'))}", "hardware=cpu"]
    few = ["evaluate.limit=3", "evaluate.max_new_tokens=4", f"init_from=runs/{rng.choice(('sft', 'gpt', 'grpo'))}"]
    return Case([*words, f"benchmark.path={name}", *few, *how], damage=[name, *damage], may_be_long=True)


@kind(7)
def exported(rng: Random, folder: Path) -> Case:
    run = rng.choice(list(RUNS))
    damage = [*inside(rng, folder / "runs" / run)] if rng.random() < 0.5 else []
    words = [
        "task=export",
        f"init_from=runs/{run}",
        "hardware=cpu",
        f"export.format={rng.choice(('hf', 'gguf', 'gguf'))}",
    ]
    more = (
        *("export.dtype=q8_0", "export.dtype=f16", "export.family=llama", "export.family=nope", "export.path=hf/gpt"),
        *("export.path=mine", "export.path=text.txt", "export.path=new", f"export.dtype={mangling.value(rng)}"),
    )
    return Case([*words, *rng.sample(more, rng.choice((0, 1, 2)))], damage=damage)


@kind(6)
def mixed(rng: Random, folder: Path) -> Case:
    """Several sources with weights."""
    paths = rng.choice(
        ("{a: text.txt, b: texts.jsonl}", "{a: tokens, b: text.txt}", "{a: '', b: x}", "{}", "{1: text.txt}")
    )
    words = ["data=mixture", f"data.paths={paths}", *MODEL, *SHORT, "data.cache_dir=cache", "tokenizer=byte"]
    weights = (
        "{a: 3, b: 1}",
        "{a: -1, b: 1}",
        "{a: 0, b: 0}",
        "{a: 1}",
        "{a: 1, b: nan}",
        "{a: 1, c: 1}",
        "[1,2]",
        "{a: 1e308, b: 1e308}",
    )
    if rng.random() < 0.6:
        words.append(f"data.weights={rng.choice(weights)}")
    damage = [mangling.file(rng, folder / rng.choice(("text.txt", "texts.jsonl")))] if rng.random() < 0.6 else []
    return Case(
        [*words, *rng.choice(([], ["task=check"], ["data.stride=3"], ["data.val_fraction=0.9"]))], damage=damage
    )
