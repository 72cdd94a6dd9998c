"""Messages that a table holds as text are messages, in each column and format; other text like JSON stays text."""

import csv
import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datamodules.preference_labels import labelled
from datamodules.reading.cells import messages_in
from datamodules.reading.formats import to_messages
from datamodules.reading.preference_rows import preferences
from datamodules.reading.records import Asked, read_rows
from errors import RequestError

ASK = [{"role": "user", "content": 'Wie hei\u00dft "es"?'}]
GOOD, BAD = ([{"role": "assistant", "content": text}] for text in ("So.", "Don't know."))
ROWS = {
    "whole": {"chosen": ASK + GOOD, "rejected": ASK + BAD},
    "prompt beside": {"prompt": ASK, "chosen": GOOD, "rejected": BAD},
}


def stored(kind, row, folder):
    """The rows that are read from a file whose cells hold the lists as text."""
    cells = {name: str(value) if kind == "python.csv" else json.dumps(value) for name, value in row.items()}
    path = folder / f"rows.{kind.rpartition('.')[2]}"
    if kind == "parquet":
        pq.write_table(pa.table({name: [cell] for name, cell in cells.items()}), path)
    else:
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([cells.keys(), cells.values()])
    asked = Asked("data.path", "rows")
    return list(read_rows(str(path), name=None, split="train", revision=None, columns=None, asked=asked))


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("kind", ["csv", "python.csv", "parquet"])
def test_pairs_in_cells_are_the_pairs_that_they_hold(kind, row, tmp_path):
    (found,), (expected,) = (
        list(preferences(rows, Counter())) for rows in (stored(kind, ROWS[row], tmp_path), [(ROWS[row], "row 1")])
    )
    assert found == expected
    assert (found.prompt, found.chosen, found.rejected) == (ASK, "So.", "Don't know.")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_questions_answers_and_labels_in_cells(kind, tmp_path):
    ((row, where),) = stored(kind, {"prompt": ASK, "completion": GOOD}, tmp_path)
    assert to_messages(row, "auto", where) == ASK + GOOD
    assert to_messages({"prompt": row["prompt"], "answer": "7"}, "auto", where)[:-1] == ASK
    (label,) = labelled([(row | {"label": "true"}, where)], Counter())
    assert (label.prompt, label.completion) == (ASK, "So.")


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]", '[{"role": "engineer", "content": "x"}]', '[{"name": "a"}]', '[{"role": ["user"], "content": "x"}]',
        '[{"role": "user"}]', '[{"role": "user", "content": "x"}] is one', "[{", '{"role": "user", "content": "x"}',
    ],
)  # fmt: skip
def test_other_text_stays_text(text):
    assert messages_in(text) is text


def test_F1_a_list_that_lost_its_commas_is_refused_by_row_and_column():
    """As numpy prints it."""
    broken = "[{'role': 'user', 'content': 'a'}\n {'role': 'assistant', 'content': 'b'}]"
    with pytest.raises(RequestError, match=r"row 7, 'chosen': .*expected one as JSON or as Python writes it"):
        list(preferences([({"chosen": broken, "rejected": broken}, "row 7")], Counter()))
    with pytest.raises(RequestError, match=r"row 7: .*expected one as JSON or as Python writes it"):
        to_messages({"prompt": broken, "completion": "x"}, "auto", "row 7")
