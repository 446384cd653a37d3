"""Every error of the tree goes from one process to another as it is."""

import inspect
import pickle

import pytest

from orchestrator import errors

OWN_ARGUMENTS = {
    errors.ExperimentError: ("e.yaml", ["one", "two"]),
    errors.DivergedError: ("the loss is nan", "step 3"),
}
ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", ALL)
def test_an_error_of_another_process_has_the_same_text(kind: type[errors.OrchestratorError]) -> None:
    problem = kind(*OWN_ARGUMENTS.get(kind, ("what is wrong",)))
    read = pickle.loads(pickle.dumps(problem))
    assert type(read) is kind
    assert (str(read), vars(read)) == (str(problem), vars(problem))
