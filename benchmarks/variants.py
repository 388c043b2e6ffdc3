"""A table of variants from a suite's results: `python benchmarks/variants.py
bench/methods/results.csv`.

Success of a row is that of its confirmed winner over its training seeds, with the 95% interval over
seeds; never the best seed.
"""

import csv
import sys


def main(path: str) -> None:
    print(
        "| task | variant | success (95% interval) | by seed | 80% after steps | sparse | human |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    with open(path, newline="") as file:  # noqa: PTH123
        for r in csv.DictReader(file):
            told = (
                f"{float(r['success']):.2f} ({float(r['low']):.2f} to {float(r['high']):.2f})"
                if r["success"]
                else r["state"]
            )
            print(
                f"| {r['task']} | {r['variant']} | **{told}** | {r['by_seed']} | {r['steps_to_80']} | {r['sparse']} | {r['human'] or '-'} |"
            )


if __name__ == "__main__":
    main(sys.argv[1])
