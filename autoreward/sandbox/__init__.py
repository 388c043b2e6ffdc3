"""The boundary around generated programs: `outside` asks, `inside` runs, and `wire` is all that
passes between them.
"""
