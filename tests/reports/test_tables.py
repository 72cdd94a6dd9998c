"""Rows of a report as text."""

from reports.tables import to_csv


def test_programs_read_numbers_without_marks_of_thousands():
    row = {"a": "1,234.5", "b": "-1,000 to 12,345,678.9", "c": "sizes 1,234", "d": "1,2"}
    assert to_csv([row]).splitlines()[1] == '1234.5,-1000 to 12345678.9,"sizes 1,234","1,2"'
