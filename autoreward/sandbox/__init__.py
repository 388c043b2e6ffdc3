"""The boundary around generated programs: `outside` asks, `inside` runs the program, and only what
`wire` describes passes between them.
"""
