"""Print a table of variants from a suite's results.

    python benchmarks/variants.py bench/methods/results.csv

The success of a row is that of its confirmed winner over its training seeds, never the best seed,
with the 95% interval over seeds.
"""

import csv
import sys
from pathlib import Path

from table import success

HEAD = (
    "task",
    "variant",
    "success (95% interval)",
    "by seed",
    "80% after steps",
    "sparse",
    "human",
)


def main(path: str) -> None:
    for cells in (HEAD, ["---"] * len(HEAD)):
        print("| " + " | ".join(cells) + " |")
    with Path(path).open(newline="") as file:
        for row in csv.DictReader(file):
            cells = (
                row["task"],
                row["variant"],
                f"**{success(row)}**",
                row["by_seed"],
                row["steps_to_80"],
                row["sparse"],
                row["human"] or "-",
            )
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(sys.argv[1])
