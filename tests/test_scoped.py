"""Process-wide settings are there inside the block, and as they were after it, also when it raises."""

import logging
import os
import types
from contextlib import suppress

import pytest

from orchestrator.scoped import attributes, environment, log_level


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "before")
    monkeypatch.delenv("UNSET", raising=False)
    with suppress(KeyError), environment({"SET": "inside", "UNSET": "inside"}):
        assert (os.environ["SET"], os.environ["UNSET"]) == ("inside", "inside")
        raise KeyError
    assert os.environ["SET"] == "before"
    assert "UNSET" not in os.environ


def test_attributes_are_put_back_and_one_that_is_not_there_is_named() -> None:
    library = types.SimpleNamespace(switch=1)
    with suppress(KeyError), attributes(library, switch=2):
        assert library.switch == 2
        raise KeyError
    assert library.switch == 1
    with pytest.raises(AttributeError, match="renamed"), attributes(library, switch=2, renamed=3):
        pass
    assert vars(library) == {"switch": 1}


def test_log_levels_are_put_back() -> None:
    names = ("orchestrator_test.one", "orchestrator_test.two")
    logging.getLogger(names[0]).setLevel(logging.DEBUG)
    with suppress(KeyError), log_level(logging.ERROR, *names):
        assert [logging.getLogger(name).level for name in names] == [logging.ERROR] * 2
        raise KeyError
    assert [logging.getLogger(name).level for name in names] == [logging.DEBUG, logging.NOTSET]
