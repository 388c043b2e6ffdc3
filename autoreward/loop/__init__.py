"""One design, from the first draft to a confirmed winner."""
