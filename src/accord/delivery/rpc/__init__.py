"""Thrift between judicators, executors and gateways."""
