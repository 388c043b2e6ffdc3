"""The pipeline, one module per stage. Stages do not import each other; they share only records.

stage        module          writes
designer     designer.py     1-designer.py        (rejected drafts: tries/N-designer.py and .json)
critic       critic.py       2-critic.json
check        check.py        3-check.json
screening    screening.py    4-screening.json
training     training.py     5-training/seed-S/
evaluation   evaluation.py   6-evaluation.json, 6-episodes.npz
analyzer     analyzer.py     7-analyzer.json
"""
