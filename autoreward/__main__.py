"""`python -m autoreward`."""

import os
import sys

if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109  (pathlib itself could be shadowed)
    # programs lie in folders: a glob.py there is no library of ours
    sys.path.append(sys.path.pop(0))

from autoreward.cli import main

if __name__ == "__main__":
    main()
