"""Generated data sets for tests, tutorials and synthetic benchmarks."""
