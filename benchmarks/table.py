"""The README's table from a suite's results: `python benchmarks/table.py bench/first/results.csv`.

Success of a design is that of its confirmed winner, a mean over three training seeds; sparse and
human likewise, at the same budget.
"""

import csv
import sys
from statistics import mean


def main(path: str) -> None:
    cards: dict[str, list[dict[str, str]]] = {}
    with open(path, newline="") as file:  # noqa: PTH123
        for row in csv.DictReader(file):
            cards.setdefault(row["task"], []).append(row)
    print(
        "| task | sparse | human | designed: mean | each design (95% interval) |\n| --- | --- | --- | --- | --- |"
    )
    for task, rows in cards.items():
        each = ", ".join(
            f"{float(r['success']):.2f} ({float(r['low']):.2f} to {float(r['high']):.2f})"
            if r["success"]
            else r["state"]
            for r in rows
        )
        human = f"{mean(float(r['human']) for r in rows):.2f}" if rows[0]["human"] else "-"
        print(
            f"| {task} | {mean(float(r['sparse']) for r in rows):.2f} | {human} | **{mean(float(r['success'] or 0) for r in rows):.2f}** | {each} |"
        )


if __name__ == "__main__":
    main(sys.argv[1])
