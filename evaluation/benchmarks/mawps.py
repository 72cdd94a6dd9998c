"""MAWPS, a repository of math word problems (Koncel-Kedziorski et al. 2016, N16-1136), in the forms it is published in.

- MU-NLPC/Calc-mawps: `question`, `result_float`.
- the CSV files of SVAMP's authors (train.csv, dev.csv): `Question` has number0, number1, ... where `Numbers` has their
  values; they are put back, or nobody could answer.
- the original JSON: `sQuestion`, `lSolutions`.
"""

import re

from evaluation.benchmarks.base import Benchmark, Question, Row
from evaluation.numbers import written

PLACEHOLDER = re.compile(r"\bnumber(\d+)\b")


class MAWPS(Benchmark):
    kind = "number"
    needs = ("question", "result_float")
    nested = ("lSolutions",)
    other_forms = (("Question", "Numbers", "Answer"), ("sQuestion", "lSolutions"))

    def question(self, row: Row) -> Question:
        if row.get("result_float") is not None:
            ask, answer = str(row["question"]), row["result_float"]
        elif row.get("Numbers") is not None:
            ask, answer = filled(str(row["Question"]), str(row["Numbers"]).split()), row["Answer"]
        else:
            ask, (answer,) = str(row["sQuestion"]), row["lSolutions"]
        return Question(ask.strip(), f"#### {written(answer)}")


def filled(text: str, numbers: list[str]) -> str:
    """ "number1 pens" with the second of the numbers. Raises IndexError where there are fewer."""
    return PLACEHOLDER.sub(lambda found: written(numbers[int(found[1])]), text)
