"""MMLU, 57 subjects with four choices (Hendrycks et al. 2020, 2009.03300); columns of cais/mmlu."""

from evaluation.benchmarks.base import Benchmark, Question, Row, lettered, numbered


class MMLU(Benchmark):
    kind = "letter"
    needs = ("question", "choices", "answer")

    def question(self, row: Row) -> Question:
        ask = f"{str(row['question']).strip()}\n{lettered(row['choices'])}"
        letters = tuple("ABCDEFGH"[: len(row["choices"])])
        return Question(ask, numbered(letters, row["answer"]), letters)
