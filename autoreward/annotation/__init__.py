"""A language model judges transitions while agents train: captions out, labels back, as data."""
