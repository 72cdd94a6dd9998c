"""ARC, grade-school science with four choices (Clark et al. 2018, 1803.05457); columns of allenai/ai2_arc."""

from evaluation.benchmarks.base import Benchmark, Question, Row


class ARC(Benchmark):
    needs = ("question", "choices", "answerKey")

    def question(self, row: Row) -> Question:
        labels, texts = list(row["choices"]["label"]), tuple(row["choices"]["text"])
        return Question(row["question"], texts[labels.index(row["answerKey"])], texts)
