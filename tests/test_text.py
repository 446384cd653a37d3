"""Lines of problems, the nearest spelling, and which names mark a secret: the helpers that every package shares."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.redact import is_secret
from orchestrator.text import did_you_mean, first_line, in_one_line, last_line


@given(st.text())
def test_a_problem_becomes_one_line_that_says_something(text: str) -> None:
    for line in (first_line, last_line, in_one_line):
        shown = line(ValueError(text))
        assert len(shown.splitlines()) == 1
        assert shown.strip()


def test_which_line_of_a_problem_is_taken() -> None:
    problem = OSError("\nfirst\nmiddle\nlast\n")
    assert (first_line(problem), last_line(problem), in_one_line(problem)) == ("first", "last", "OSError: first")
    assert first_line(OSError()) == last_line(OSError(" \n")) == in_one_line(OSError()) == "OSError"
    assert (first_line("", "nothing"), last_line("a\nb", "nothing")) == ("nothing", "b")


def test_the_nearest_spelling_in_whatever_case() -> None:
    assert did_you_mean("optimzer", ["optimizer", "epochs"]) == " (did you mean optimizer?)"
    assert did_you_mean("horisontalflip", ["HorizontalFlip"]) == " (did you mean HorizontalFlip?)"
    assert did_you_mean("q", ["optimizer"]) == ""


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "MYSQL_PWD", "RAY_AUTH_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY",
        "password", "pwd", "sig", "X-Amz-Signature", "secret_key", "accountkey", "api-key", "apikey", "SSH_KEY",
    ],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["region", "scheme", "endpoint_override", "design", "keyboard", "monkey", "user", ""])
def test_names_of_what_is_no_secret(name: str) -> None:
    assert not is_secret(name)
