"""Boxes for strangers' programs."""
