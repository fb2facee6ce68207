"""The laws that every recipe obeys, and test-sized configurations."""

from jaxdl.testing.sizes import tiny as tiny
