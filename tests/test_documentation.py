"""What the documentation names is there: tests by name, and the experiment and the calls that README shows."""

import re
from pathlib import Path

import pytest
import yaml

import orchestrator as orc
from orchestrator.experiment.reader import read_experiment

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]
# A file, a file and a test in it, or a further test in the file that was named before it.
NAMED = re.compile(r"`(?:(?:tests/)?((?:cluster/)?test_\w+\.py))?(?:::(test_\w+))?`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_named_exist(page: Path) -> None:
    for line in page.read_text(encoding="utf-8").splitlines():
        source = ""
        for file, test in NAMED.findall(line):
            if file:
                assert (ROOT / "tests" / file).is_file(), f"{page.name} names tests/{file}"
                source = (ROOT / "tests" / file).read_text(encoding="utf-8")
            if test:
                assert f"\ndef {test}(" in source, f"{page.name} names {test}"


def block(language: str) -> str:
    """README's one block in this language."""
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def test_the_experiment_of_the_readme_can_be_read() -> None:
    experiment = read_experiment(yaml.safe_load(block("yaml")), "README.md")
    assert experiment.name == "widths"


def test_the_calls_of_the_readme_exist() -> None:
    code = block("python")
    compile(code, "README.md", "exec")
    for owner, call in ((orc, r"\borc\.(\w+)\("), (orc.Results, r"\bresults\.(\w+)\("), (orc.Trial, r"\)\.(\w+)\(")):
        assert (names := re.findall(call, code))
        assert [name for name in names if not hasattr(owner, name)] == []
