"""Trainers: processes of trusted code.

`python -m autoreward.trainer JOB.json`; nobody imports this package.

A job is a `TrainJob`, `EvaluateJob`, `PlayJob`, `NetworkJob` or `ProbeJob` (records.py) as JSON;
results are files below its `out`, progress is JSON lines on stdout (`{"steps": 4096, "success":
0.5, "length": 31.0}`). Exit 0: done (also where the program was refused: done.json says so); 3:
something of the machine or the card, one sentence on stderr. Another trainer can take this one's
place (`--trainer-python`).
"""
