"""TinyStories (Eldan & Li 2023, 2305.07759): each row is a story, as a child of four would understand it."""

from evaluation.benchmarks.texts import Texts


class TinyStories(Texts):
    pass
