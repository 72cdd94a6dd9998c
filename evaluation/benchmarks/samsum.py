"""SAMSum, summaries of chats (Gliwa et al. 2019, 1911.12237); columns `dialogue` and `summary`."""

from evaluation.benchmarks.base import Benchmark, Question, Row


class SAMSum(Benchmark):
    needs = ("dialogue", "summary")
    summary = True

    def question(self, row: Row) -> Question:
        return Question(f"Summarise this dialogue.\n\n{row['dialogue']}", row["summary"])
