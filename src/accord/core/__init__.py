"""Pure values and decisions: no clock, chance, I/O, threads or logging.

Everything here is a function of its arguments. Time enters as ``now`` (seconds since the
epoch, UTC, by the store's clock); chance enters not at all.
"""
