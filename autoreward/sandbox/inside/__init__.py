"""Inside the sandbox: numpy and one reward program.

Nothing imports this package; `sandbox.outside` starts it as a process.
"""
