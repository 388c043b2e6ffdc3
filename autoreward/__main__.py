"""Run the command line: `python -m autoreward`."""

import os
import sys

# The current folder may hold reward programs: a glob.py there must not stand in for the library.
# pathlib is not used here because it could be shadowed itself.
if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
    sys.path.append(sys.path.pop(0))

from autoreward.cli import main

if __name__ == "__main__":
    main()
