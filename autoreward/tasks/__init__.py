"""Task cards: what a task is, where cards are found, and how success is decided (runtime.py)."""
