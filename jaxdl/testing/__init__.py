"""The laws that every recipe obeys, and test-sized configurations."""

from jaxdl.testing.check import check_laws as check_laws
from jaxdl.testing.sizes import tiny as tiny
