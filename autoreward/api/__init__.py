"""What `import autoreward` offers: design, resume, load_run, check, train, and Study for trainers
of your own.
"""
