"""Throughput, baseline and overhead benchmarks; not part of the tests."""
