"""Tests that start a Ray run in one process when tests are shared out, whatever pytest and xdist do."""

import pytest

NEEDS_SHARING = "tests are not shared out by groups (--dist loadgroup)"


@pytest.mark.ray
def test_what_starts_a_ray_is_one_group(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip(NEEDS_SHARING)
    assert request.node.nodeid.endswith("@ray")


def test_what_shares_nothing_is_in_no_group(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip(NEEDS_SHARING)
    assert "@" not in request.node.nodeid
