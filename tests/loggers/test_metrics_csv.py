"""metrics.csv: one row a step, new columns, resume without overlap."""

import csv

from loggers.metrics_csv import MetricsCSV


def read(folder):
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


def test_one_row_per_step_and_columns_that_come_later(tmp_path):
    log = MetricsCSV(run_dir=tmp_path, start_step=0)
    log.log_metrics({"train/loss": 3.0}, step=1)
    log.log_metrics({"train/loss": 2.0}, step=2)
    log.save()  # a checkpoint flushes
    log.log_metrics({"val/loss": 2.5}, step=2)
    log.log_metrics({"train/loss": 1.0}, step=3)
    log.finalize("success")
    assert read(tmp_path) == [
        {"step": "1", "train/loss": "3.0", "val/loss": ""},
        {"step": "2", "train/loss": "2.0", "val/loss": "2.5"},
        {"step": "3", "train/loss": "1.0", "val/loss": ""},
    ]


def test_N37_resume_drops_what_came_after_the_checkpoint(tmp_path):
    first = MetricsCSV(run_dir=tmp_path, start_step=0)
    for step in (1, 2, 3, 4):
        first.log_metrics({"train/loss": float(step)}, step=step)
    first.save()
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("5,")  # torn by a kill
    second = MetricsCSV(run_dir=tmp_path, start_step=2)
    second.log_metrics({"val/loss": 9.0}, step=2)  # the validation that the kill prevented
    second.log_metrics({"train/loss": 3.5}, step=3)
    second.save()
    assert [(r["step"], r["train/loss"], r["val/loss"]) for r in read(tmp_path)] == [
        ("1", "1.0", ""),
        ("2", "2.0", "9.0"),
        ("3", "3.5", ""),
    ]
