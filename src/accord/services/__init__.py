"""What Accord does: the judicator's service, the leader's duties, and the executor."""
