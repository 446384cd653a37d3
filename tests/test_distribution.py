"""Tests that start a Ray run in one process when tests are shared out, whatever pytest and xdist do."""

import pytest


@pytest.mark.ray
def test_what_starts_a_ray_is_one_group_where_groups_stay_together(request: pytest.FixtureRequest) -> None:
    """That is with ``--dist loadgroup``, as `make test` has it."""
    assert request.node.nodeid.endswith("@ray") == bool(getattr(request.config.option, "loadgroup", False))


def test_what_shares_nothing_is_in_no_group(request: pytest.FixtureRequest) -> None:
    assert "@" not in request.node.nodeid
