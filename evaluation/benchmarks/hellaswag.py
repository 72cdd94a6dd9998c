"""HellaSwag, how a scene goes on (Zellers et al. 2019, 1905.07830); columns of Rowan/hellaswag.

`[header]`, `[title]` and the like, left over from WikiHow, are taken out as the harness of EleutherAI does.
"""

import re

from evaluation.benchmarks.base import Benchmark, Question, Row, numbered


class HellaSwag(Benchmark):
    needs, nested = ("ctx", "endings", "label", "activity_label"), ("endings",)

    def question(self, row: Row) -> Question:
        endings = tuple(clean(ending) for ending in row["endings"])
        return Question(clean(f"{row['activity_label']}: {row['ctx']}"), numbered(endings, row["label"]), endings)


def clean(text: str) -> str:
    return re.sub(r" +", " ", re.sub(r"\[.*?\]", "", text.replace(" [title]", ". "))).strip()
