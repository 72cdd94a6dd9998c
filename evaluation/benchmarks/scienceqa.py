"""ScienceQA without its pictures (Lu et al. 2022, 2209.09513); columns of derek-thomas/ScienceQA."""

from evaluation.benchmarks.base import Benchmark, Question, Row, lettered_one, numbered

# the words that data.format=scienceqa trains with (datamodules/reading/formats.py)
TUTOR = "You are a helpful science tutor. Choose the right answer, then explain it."
CORRECT_ANSWER = "The correct answer is"


class ScienceQA(Benchmark):
    kind = "letter"
    words = TUTOR
    needs, reads = ("question", "choices", "answer"), ("hint",)

    def question(self, row: Row) -> Question:
        hint = f"{row['hint']}\n\n" if row.get("hint") else ""
        # one by one: a choice may have a line break in it
        choices = tuple(lettered_one(i, choice) for i, choice in enumerate(row["choices"]))
        ask = f"{hint}{row['question']}\n\n" + "\n".join(choices)
        return Question(
            ask, numbered(choices, row["answer"]), choices, lead=CORRECT_ANSWER, source=hint or str(row["question"])
        )
