"""MAWPS, a repository of math word problems (Koncel-Kedziorski et al. 2016); columns of MU-NLPC/Calc-mawps."""

from evaluation.benchmarks.base import Benchmark, Question, Row
from evaluation.numbers import written


class MAWPS(Benchmark):
    kind = "number"
    needs = ("question", "result_float")

    def question(self, row: Row) -> Question:
        return Question(str(row["question"]).strip(), f"#### {written(row['result_float'])}")
