"""Throughput against peers, and what the loop costs; never part of the tests."""
