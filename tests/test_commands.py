"""F21: what is printed for people to copy does what it says, whatever is in a path."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from commands import hydra_text, run_py, shell, word
from tests.test_layering import modules

# a command on the same line, up to the value that is put in
COMMAND = re.compile(
    r"(python run\.py|python -m crawl|\brm -r|\biconv |\btensorboard --|\bcurl |\bchmod |\bmkdir |\brm )[^\n]*$"
)
# `resume=` and the like after "type": the value is part of a word that will be copied
TYPED = re.compile(r"[Tt]ype:? [^\n]*\b(resume|rerun|init_from|model\.path|data\.path|runs)=$")
QUOTING = {"run_py", "shell", "word"}


@pytest.mark.parametrize("path", ["my data/out", "ex;id", "a'b", "$(touch X)", "ü\n", "-rf", "a b; rm -r ~"])
def test_F21_a_shell_reads_back_what_was_meant(path: str) -> None:
    assert shlex.split(run_py("task=chat", f"init_from={path}")) == [
        "python",
        "run.py",
        "task=chat",
        f"init_from={path}",
    ]
    assert shlex.split(shell("rm", "-r", Path(path)))[2:] == [str(Path(path))]
    assert shlex.split(word(f"resume={path}")) == [f"resume={path}"]


@pytest.mark.parametrize(
    "text", ["outputs/run-1", "a, b", "{x: y}", "it's", "a\\b", "ends\\", "\\'", "[1,2]", "a b", "${x"]
)
def test_F21_hydra_reads_back_what_was_meant(text: str) -> None:
    parser = OverridesParser.create()
    assert parser.parse_override(f"paths={{a: {hydra_text(text)}}}").value() == {"a": text}
    assert parser.parse_override(f"x={hydra_text(text, always=True)}").value() == text


def unquoted(tree: ast.AST) -> list[int]:
    """Lines of f-strings that put a value into a command without one of the functions that quote."""
    lines = []
    for node in ast.walk(tree):
        before = ""
        for part in node.values if isinstance(node, ast.JoinedStr) else ():
            if isinstance(part, ast.Constant):
                before += str(part.value)
                continue
            assert isinstance(part, ast.FormattedValue)
            quotes = isinstance(part.value, ast.Call) and getattr(part.value.func, "id", None) in QUOTING
            harmless = isinstance(part.value, ast.BinOp)  # arithmetic
            if (COMMAND.search(before) or TYPED.search(before)) and not quotes and not harmless:
                lines.append(part.value.lineno)
            before += "{}"
    return lines


def test_F21_the_search_finds_what_it_is_for() -> None:
    assert unquoted(ast.parse('f"Type: rm -r {folder}"')) == [1]
    assert unquoted(ast.parse('f"To go on, type resume={path}."')) == [1]
    assert unquoted(ast.parse("""f"Type: {word(f'resume={path}')}" """)) == []


@pytest.mark.parametrize("file", modules(), ids=lambda file: file.name)
def test_F21_no_command_is_printed_with_a_bare_path(file: Path) -> None:
    found = unquoted(ast.parse(file.read_text(encoding="utf-8")))
    assert not found, f"{file}, lines {found}: put the words through commands.py"
