"""Accord compiles and runs programs on many machines, and can prove that a result is right."""

__version__ = "0.1.0"
