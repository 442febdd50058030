"""Tests of Accord. Each folder holds one kind; ``builders`` makes values for all of them."""
