"""The held-out problems of data=arithmetic, generated: grade-school sums with worked steps, as GSM8K's."""

from typing import Annotated, Any

from bounds import NonNegativeInt, PositiveInt, at_least, between
from errors import RequestError
from evaluation.benchmarks.base import Benchmark, Question, Row


class Arithmetic(Benchmark):
    """Args:
    n: problems. first: number of the first one; split=train asks those that data=arithmetic trains on with seed=0.
    max_steps, max_number: as of data=arithmetic; other values than in training ask other questions.
    """

    kind = "number"
    needs = ("question", "answer")

    def __init__(
        self,
        *,
        n: PositiveInt = 512,
        max_steps: Annotated[int, between(1, 8)] = 2,
        max_number: Annotated[int, at_least(10)] = 20,
        split: str = "val",
        shots_split: str = "train",
        first: NonNegativeInt = 0,
    ):
        """Raises RequestError for a number out of its range, or a split that there is not."""
        super().__init__(path="generated", split=split, shots_split=shots_split, first=first)
        if n < 1 or not 1 <= max_steps <= 8 or max_number < 10:
            raise RequestError(
                f"benchmark.n={n} (1 or more), benchmark.max_steps={max_steps} (1 to 8) or "
                f"benchmark.max_number={max_number} (10 or more) is out of its range."
            )
        if not {split, shots_split} <= {"train", "val"} or split == shots_split:
            raise RequestError(
                f"benchmark.split={split}, benchmark.shots_split={shots_split}: expected val and train, or the reverse."
            )
        self.n, self.max_steps, self.max_number = n, max_steps, max_number

    def rows(self, split: str, limit: int | None, *, read: Any, make: Any, first: int = 0) -> list[tuple[Row, str]]:
        """Problems of data=arithmetic; its validation side is asked, the other one gives the shots."""
        n = self.n if limit is None else min(limit, self.n)
        made = (
            make(i, side=split, max_steps=self.max_steps, max_number=self.max_number) for i in range(first, first + n)
        )
        return [({"question": problem.question, "answer": problem.solution}, "a problem") for problem in made]

    def question(self, row: Row) -> Question:
        return Question(row["question"], row["answer"], source=row["answer"])  # the chain of sums, whatever the story
