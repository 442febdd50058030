"""Everything in this process's memory: for tests and simulations, under the same contracts."""
