"""The embedded designer `offline/search`: a search over a grammar of reward terms, and no language
model.
"""
