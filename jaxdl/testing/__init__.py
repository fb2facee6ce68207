"""The laws that every recipe obeys, and test-sized configurations."""
