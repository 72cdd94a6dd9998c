"""SVAMP, arithmetic word problems with misleading wording (Patel et al. 2021, 2103.07191); columns of ChilleD/SVAMP."""

from evaluation.benchmarks.base import Benchmark, Question, Row
from evaluation.numbers import written


class SVAMP(Benchmark):
    kind = "number"
    needs = ("Body", "Question", "Answer")

    def question(self, row: Row) -> Question:
        body = str(row["Body"]).strip()
        end = "" if body.endswith((".", "?", "!")) else "."
        ask = f"{body}{end} {str(row['Question']).strip()}"
        return Question(ask, f"#### {written(row['Answer'])}", source=body)
