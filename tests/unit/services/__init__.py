"""Services on memory adapters."""
