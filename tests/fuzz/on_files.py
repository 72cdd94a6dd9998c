"""Cases of what others wrote: data, models, templates, crawled pages."""

import shutil
from pathlib import Path
from random import Random

import mangling
from cases import Case, inside, kind
from yard import BPE, MODEL, ON_TEXT, ROWS, SHORT

HUB_DATA = ("tinystories", "wikitext2", "alpaca", "gsm8k", "ultrafeedback_binarized", "samsum", "fineweb_edu", "enron")
HUB_BENCHMARKS = ("gsm8k", "arc", "hellaswag", "mmlu", "samsum", "wikitext2", "squad", "tinystories", "scienceqa")
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


@kind(14)
def a_model_of_others(rng: Random, folder: Path) -> Case:
    name = rng.choice(("gpt", "llama", "moe"))
    damage = inside(rng, folder / "hf" / name)
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


@kind(5)
def from_the_hub(rng: Random, folder: Path) -> Case:
    """What is to be downloaded, where nobody answers."""
    name = rng.choice(("openai-community/gpt2", "no/such", "gpt2", "a b/c", "../x", "x" * 300, "org/name/more", "-"))
    what = rng.choice(
        (
            [f"data={rng.choice(HUB_DATA)}", *MODEL, *SHORT],
            ["data=hf", f"data.path={name}", *MODEL, *SHORT],
            ["model=hf", f"model.path={name}", *ON_TEXT, *SHORT],
            ["model=hf_seq2seq", f"model.path={name}", "task=generate", "prompt=a"],
            ["tokenizer=hf", f"tokenizer.name={name}", *MODEL, *ON_TEXT, *SHORT],
            ["tokenizer=tiktoken", f"tokenizer.name={name}", *MODEL, *ON_TEXT, *SHORT],
            ["task=evaluate", f"benchmark={rng.choice(HUB_BENCHMARKS)}", "init_from=runs/gpt", "evaluate.limit=2"],
            [f"init_from={name}", *ON_TEXT, *SHORT],
        )
    )
    return Case(what)


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


@kind(6)
def a_corpus(rng: Random, folder: Path) -> Case:
    damage = inside(rng, folder / "crawled")
    data = ["data=crawl", "data.path=crawled", "data.cache_dir=cache", "data.prepare_workers=0", *MODEL, *SHORT]
    warc = ["spider=warc", "warc_files=[crawled/page.warc]", "contact=me@example.org", "output=new", "processes=1"]
    if damage[0] == "page.warc":
        return Case(warc, program="crawl", damage=list(damage))
    return Case(data, damage=list(damage))
