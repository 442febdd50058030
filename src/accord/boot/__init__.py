"""The supervisor of a node and the services that it keeps running."""
