"""The embedded designer `offline/search`: a search over a grammar of reward terms.

It is not a language model. `search` chooses plans and answers requests, `grammar` says what a plan
is, `writer` turns a plan into a reward program, `guides` writes the programs of other methods, and
`expressions` puts parts of a card into code.
"""
