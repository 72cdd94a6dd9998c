"""SST-2, sentiment of film reviews (Socher et al. 2013); columns of stanfordnlp/sst2 and of GLUE's dev.tsv."""

from evaluation.benchmarks.base import Benchmark, Question, Row, numbered

LABELS = ("negative", "positive")


class SST2(Benchmark):
    needs = ("sentence", "label")

    def question(self, row: Row) -> Question:
        ask = f"{str(row['sentence']).strip()}\nIs this positive or negative?"  # as data=sst2 trains on
        return Question(ask, numbered(LABELS, row["label"]), LABELS)
