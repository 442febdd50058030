"""The seams: protocols whose docstrings are contracts. ``accord.testing`` holds one conformance
suite for each, run on every implementation.
"""
