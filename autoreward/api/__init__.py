"""What `import autoreward` offers: design, resume, load_run, check, train, and Study."""
