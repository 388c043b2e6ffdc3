"""A reward as data: the program's text, the signal that reads its answers, the composition of its
terms.
"""
