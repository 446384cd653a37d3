"""What a trial gets on any cluster: auto always fits a node, and a refusal advises what would help."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ResourceError
from orchestrator.scheduling.resources import fits, larger_share, slots, trial_resources
from orchestrator.spec import Resources

AMOUNTS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0, 64.0])
NODES = st.lists(
    st.fixed_dictionaries({}, optional={"CPU": AMOUNTS, "GPU": AMOUNTS, "memory": st.just(1e9)}), max_size=5
)
WANTED = st.sampled_from(["auto", 0.25, 0.5, 1, 2, 4, 16, 128])


@given(WANTED, WANTED | st.just(0), NODES)
def test_what_is_given_is_kept_and_auto_fits_a_node(
    cpus: float | str, gpus: float | str, nodes: list[dict[str, float]]
) -> None:
    wanted = Resources(cpus=cpus, gpus=gpus)  # type: ignore[arg-type]
    least = {"CPU": 1.0 if isinstance(cpus, str) else cpus, "GPU": 0.0 if isinstance(gpus, str) else gpus}
    if any(fits(least, node) for node in nodes):
        found = trial_resources(wanted, nodes)
        assert any(fits(found, node) for node in nodes)
        assert slots(found, nodes, None) >= 1
        assert found["CPU"] >= 1 if isinstance(cpus, str) else found["CPU"] == cpus
        assert isinstance(gpus, str) or found.get("GPU", 0.0) == gpus
        more = larger_share(found, nodes)
        assert any(fits(more, node) for node in nodes)
        assert all(more[kind] >= amount for kind, amount in found.items())
    else:
        with pytest.raises(ResourceError) as refused:
            trial_resources(wanted, nodes)
        advice = str(refused.value).rpartition("; ")[2]
        for name, value in (("cpus", cpus), ("gpus", gpus)):
            assert (f"resources.{name}" in advice) == (not isinstance(value, str) and value != 0)


def test_a_mixed_cluster_is_used_as_it_is() -> None:
    mixed = [{"CPU": 64.0}, {"CPU": 8.0, "GPU": 1.0}]
    assert trial_resources(Resources(), mixed) == {"CPU": 8.0, "GPU": 1.0}
    assert trial_resources(Resources(), mixed, 4) == {"CPU": 2.0, "GPU": 0.25}
    assert trial_resources(Resources(), mixed, 16) == {"CPU": 1.0, "GPU": 1 / 16}
    assert trial_resources(Resources(gpus=1), mixed, 4) == {"CPU": 8.0, "GPU": 1.0}
    assert trial_resources(Resources(gpus=1), mixed) == {"CPU": 8.0, "GPU": 1.0}
    assert trial_resources(Resources(cpus=16), mixed) == {"CPU": 16.0}
    assert trial_resources(Resources(gpus=0), mixed) == {"CPU": 1.0}
    assert trial_resources(Resources(), [{"GPU": 1.0}, {"CPU": 4.0}]) == {"CPU": 1.0}
    with pytest.raises(ResourceError) as refused:
        trial_resources(Resources(cpus=16, gpus=1), mixed)
    assert str(refused.value) == (
        "a trial asks for 16 CPUs and 1 GPUs on one node, but the nodes have: 64 CPUs and 0 GPUs; 8 CPUs and 1 GPUs; "
        "lower resources.cpus or resources.gpus, or set it to auto"
    )


def test_who_lacks_memory_gets_more_wherever_there_is_more() -> None:
    node = [{"CPU": 8.0, "GPU": 1.0}]
    assert larger_share({"CPU": 2.0, "GPU": 0.25}, node) == {"CPU": 2.0, "GPU": 0.5}
    assert larger_share({"CPU": 2.0, "GPU": 1.0}, node) == {"CPU": 8.0, "GPU": 1.0}
    assert larger_share({"CPU": 1.0}, node) == {"CPU": 8.0}
