"""A terminal's text as a picture for the README: `make demo 2>&1 | tee demo.txt; python
docs/picture.py < demo.txt > docs/demo.svg`.

Leaves out what make itself echoes and the progress lines of single trainings; nothing else is
changed.
"""

import io
import re
import sys

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

LEFT_OUT = re.compile(
    r"^(test -x|touch|WARNING|\.venv/bin/python -m pip)|^\d\d:\d\d +training +.*[\d,]+ steps|^(real|user|sys)\t|\bmake\["
)
STRONG = {
    r"\bsuccess \d+%": "bold green",
    r"^(winner|sparse|human|hints|model|program|report|next)\b": "cyan",
    r"^\d\d:\d\d": "bright_black",
    r"^\$.*": "bold",
}


def main() -> None:
    lines = [
        line.rstrip().replace(".venv/bin/", "") for line in sys.stdin if not LEFT_OUT.search(line)
    ]
    console = Console(record=True, width=118, file=io.StringIO(), force_terminal=True)
    for line in ["$ make demo", *lines]:
        text = Text(line)
        for pattern, style in STRONG.items():
            text.highlight_regex(pattern, style)
        console.print(text)
    svg = console.export_svg(title="make demo", theme=MONOKAI)
    # The fonts would come from the network; the reader's own monospace will do.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S).replace(
        "Fira Code", "ui-monospace, Menlo, Consolas"
    )
    print(svg)


if __name__ == "__main__":
    main()
