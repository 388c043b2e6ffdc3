"""Trainers: processes that run trusted code with torch and gymnasium.

They are started as `python -m autoreward.trainer JOB.json`; only the API imports this package.

A job is one of the classes in store/jobs.py, or a `SurveyJob` (store/survey.py), as JSON.
Results are files below its `out`; progress is JSON lines on stdout, as `{"steps": 4096, "success":
0.5, "length": 31.0}`. Exit code 0: done, also if the program was rejected (done.json says so); 3: a
problem of the machine or the card, one sentence on stderr. Another program can replace this trainer
(`--trainer-python`).
"""
