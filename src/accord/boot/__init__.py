"""The supervisor of a node and the services that it keeps running.

``supervisor`` holds the whole, ``keeper`` keeps one service, ``process`` is one run of it; ``pids``
and ``locks`` are what lies on disk so that the next Boot, and ``accord maintain``, know of it.
``embedded`` lists the services of ``accord up``.
"""
