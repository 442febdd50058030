"""Fakes and conformance suites of the ports, for our tests and for whoever writes another adapter."""
