"""GSM8K, grade-school word problems whose answers end in `#### 72` (Cobbe et al. 2021, 2110.14168)."""

from evaluation.benchmarks.base import Benchmark, Question, Row


class GSM8K(Benchmark):
    kind = "number"
    needs = ("question", "answer")

    def question(self, row: Row) -> Question:
        return Question(row["question"], row["answer"])
