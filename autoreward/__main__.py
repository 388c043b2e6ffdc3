"""`python -m autoreward`."""

from autoreward.cli import main

if __name__ == "__main__":
    main()
