"""report.html of a suite."""
from dipir.suite.report import write_report
from dipir.suite.table import Row


def row(k: int, figures: dict, varied: dict, state: str = "done", cause: str = "") -> Row:
    return Row(f"job{k}", "insert", f"/scenes/s{k}.yaml", 0, varied, state, figures, 2.0 + k, 0.5, 1, cause)


def test_report(tmp_path):
    rows = [row(k, {"angle": float(k)}, {"n": k}) for k in range(3)] + [row(3, {}, {"n": 9}, "failed", "<b>bad</b>")]
    text = write_report(tmp_path, rows, "suite").read_text()
    assert "angle over n" in text and "&lt;b&gt;bad" in text and "<b>bad</b>" not in text
