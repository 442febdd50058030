"""Each port's conformance suite, run on each implementation."""
