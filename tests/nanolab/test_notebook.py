"""notebooks/tour.ipynb runs from its first cell to its last."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_M4_the_tour_runs_in_a_kernel_of_the_dev_extra(tmp_path, monkeypatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("JUPYTER_ALLOW_INSECURE_WRITES", "true")
    book = nbformat.read(ROOT / "notebooks/tour.ipynb", as_version=4)
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    told = [out for cell in book.cells for out in cell.get("outputs", [])]
    assert any("image/png" in out.get("data", {}) for out in told)
    assert "Did you mean model.n_layer?" in "".join(out.get("text", "") for out in told)
    assert len(list(tmp_path.glob("outputs/*/*/summary.json"))) == 3


def test_M4_the_tour_is_kept_without_outputs() -> None:
    """Numbers and pictures of one machine would only age there."""
    text = (ROOT / "notebooks/tour.ipynb").read_text(encoding="utf-8")
    assert '"output_type"' not in text
