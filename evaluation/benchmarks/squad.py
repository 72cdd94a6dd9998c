"""SQuAD 1.1, answers that are a piece of a passage (Rajpurkar et al. 2016, 1606.05250); columns of rajpurkar/squad.

Exact match and F1 are those of its own evaluation: the best over the given answers.
"""

from evaluation.benchmarks.base import Benchmark, Question, Row


class SQuAD(Benchmark):
    kind = "span"
    needs, nested = ("context", "question", "answers"), ("answers",)

    def question(self, row: Row) -> Question:
        answers = list(dict.fromkeys(map(str, row["answers"]["text"])))
        if not answers:
            raise ValueError("no answer is given: questions without one (SQuAD 2.0) are not asked here")
        context = str(row["context"]).strip()
        ask = f"{context}\n\n{str(row['question']).strip()}"
        return Question(ask, answers[0], source=context, others=tuple(answers[1:]))
