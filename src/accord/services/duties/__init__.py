"""One pass of one background job each; all are level-triggered and may run anywhere, twice, or late."""
