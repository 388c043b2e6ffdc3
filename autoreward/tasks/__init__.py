"""Task cards: what a task is, where cards are found, and how a success is decided."""
