"""Print the README's table from a suite's results.

    python benchmarks/table.py bench/first/results.csv

The success of a design is that of its confirmed winner, a mean over three training seeds; sparse
and human are means over as many seeds at the same budget.
"""

import csv
import sys
from pathlib import Path
from statistics import mean

HEAD = ("task", "sparse", "human", "designed: mean", "each design (95% interval)")
Row = dict[str, str]


def main(path: str) -> None:
    by_task: dict[str, list[Row]] = {}
    with Path(path).open(newline="") as file:
        for row in csv.DictReader(file):
            by_task.setdefault(row["task"], []).append(row)
    for cells in (HEAD, ["---"] * len(HEAD)):
        print("| " + " | ".join(cells) + " |")
    for task, rows in by_task.items():
        designed = mean(float(row["success"] or 0) for row in rows)
        sparse = average(rows, "sparse")
        human = average(rows, "human") if rows[0]["human"] else "-"
        each = ", ".join(success(row) for row in rows)
        print(f"| {task} | {sparse} | {human} | **{designed:.2f}** | {each} |")


def average(rows: list[Row], column: str) -> str:
    return f"{mean(float(row[column]) for row in rows):.2f}"


def success(row: Row) -> str:
    """Return the success rate with its interval, or the state of a run without a winner."""
    if not row["success"]:
        return row["state"]
    rate, low, high = (float(row[column]) for column in ("success", "low", "high"))
    return f"{rate:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main(sys.argv[1])
