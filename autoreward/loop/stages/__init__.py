"""The pipeline, one module a stage, strangers to each other: they meet in records.

stage        module          writes
designer     designer.py     1-designer.py        (refused drafts: tries/N-designer.py and .json)
critic       critic.py       2-critic.json
check        check.py        3-check.json
screening    screening.py    4-screening.json
training     training.py     5-training/seed-S/
evaluation   evaluation.py   6-evaluation.json, 6-episodes.npz
analyzer     analyzer.py     7-analyzer.json
"""
