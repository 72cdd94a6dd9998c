"""Tools that write while a model writes: a guide (models/guides.py) that answers what stands in GSM8K's marks.

    12+7=<<12+7=        the model asks: what stands between << and =
                19>>    the first tool that knows an answer writes it, and closes the mark

(Cobbe et al. 2021, 2110.14168, appendix C.) A tool is a file in evaluation/tools with one function,

    answer(asked: str) -> str | None

of what was asked; None leaves it to the model. It is a function of its argument alone, so that runs can be repeated.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np

from errors import RequestError
from models.guides import Ids, MakeGuide
from tokenization.base import Tokenizer

FOLDER = Path(__file__).parent / "tools"
LONGEST = 200  # characters of what is asked
WINDOW = 256  # ids in which it must lie: whatever stands before, a call costs no more
OPEN = re.compile(rf"<<([^<>=\n]{{1,{LONGEST}}})=([^<>=\n]*)\Z")

Tool = Callable[[str], str | None]


def tools_named(names: Sequence[str]) -> list[Tool]:
    """Raises RequestError where there is no tool of a name, or one is named twice."""
    there = sorted(file.stem for file in FOLDER.glob("[!_]*.py"))
    for name in names:
        if name not in there:
            raise RequestError(f"tools={list(names)}: there is no tool {name}. There are: {', '.join(there)}.")
    if len(set(names)) < len(names):
        raise RequestError(f"tools={list(names)}: a tool is named twice. Type each once.")
    return [import_module(f"evaluation.tools.{name}").answer for name in names]


def tool_guide(names: Sequence[str], tokenizer: Tokenizer) -> MakeGuide | None:
    """Makes guides that answer by these tools, tried in their order; None without any.

    Raises:
        RequestError: there is no such tool.
    """
    tools = tools_named(names)

    @cache
    def asks(id: int) -> bool:
        return "=" in tokenizer.decode([id])

    return (lambda prompt: ToolGuide(tools, tokenizer, asks, prompt)) if tools else None


class ToolGuide:
    """Writes results; leaves everything else to the model."""

    def __init__(self, tools: Sequence[Tool], tokenizer: Tokenizer, asks: Callable[[int], bool], prompt: Ids):
        self.tools, self.tokenizer, self.asks = tools, tokenizer, asks
        self.prompt = [int(id) for id in prompt[-WINDOW:]]

    def forced(self, ids: Ids) -> Ids:
        tail = [*self.prompt, *ids[-WINDOW:]][-WINDOW:]
        if not tail or not self.asks(tail[-1]):
            return []
        found = OPEN.search(self.tokenizer.decode(tail))
        if found is None:
            return []
        asked, begun = found.groups()  # a token may hold "=" and the first digits
        result = next((f"{result}>>" for tool in self.tools if (result := tool(asked)) is not None), None)
        if result is None or not result.startswith(begun):
            return []
        new = self.tokenizer.encode_after(tail, result[len(begun) :])
        return [] if new is None else new.tolist()

    def allowed(self, ids: Ids) -> np.ndarray | None:
        return None
