"""Initialization of modules in groups, by their path."""

import pytest

from jaxdl.errors import UserError
from jaxdl.training.checkpoint import _module, _with_module

PARAMS = {"classifier": {"encoder": {"stack": 1, "embed": 2}, "head": 3}, "fid_classifier": {"head": 4}}


def test_modules_are_looked_up_by_path():
    assert _module(PARAMS, "classifier/encoder/stack", "here") == 1
    assert _module(PARAMS, "fid_classifier", "here") == {"head": 4}
    with pytest.raises(UserError, match="here has no parameter group 'fid_classifiers'; did you mean 'fid_classifier'"):
        _module(PARAMS, "fid_classifiers", "here")
    with pytest.raises(UserError, match="here has no 'encode' in 'classifier/encode'; did you mean 'encoder'"):
        _module(PARAMS, "classifier/encode", "here")


def test_only_the_selected_module_is_replaced():
    replaced = _with_module(PARAMS, ["classifier", "encoder"], {"new": 5})
    assert replaced == {"classifier": {"encoder": {"new": 5}, "head": 3}, "fid_classifier": {"head": 4}}
    assert PARAMS["classifier"]["head"] == 3
