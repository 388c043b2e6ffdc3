"""Inside the jail: numpy and one reward program.

Nobody imports this package; `sandbox` starts it as a process.
"""
