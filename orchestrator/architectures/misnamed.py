"""What to do about names of variants that name something else than a network: a notebook, a folder, a script."""

from contextlib import suppress
from pathlib import Path

from orchestrator.architectures.crash import place

GUARD = 'if __name__ == "__main__":'


def misnamed(variant: str, source: str) -> str | None:
    """What ``source`` is, if it is a file or folder but no Python file, and what to do; otherwise None."""
    path = Path(source)
    told = "" if variant == source else f"{variant}: "
    suffix = path.suffix.lower()
    if suffix == ".ipynb":
        return (
            f"{told}{path} is a notebook; write the network's cell to a file (%%writefile network.py) and name it "
            "network.py:Class, or pass the class itself to orchestrator.train in Python"
        )
    if suffix in (".yaml", ".yml"):
        return f"{told}{path} is a YAML file, not a network; an experiment file is run by: orchestrator run {path}"
    if suffix == ".pyc":
        return f"{told}{path} is compiled Python; name its source, a .py file"
    if suffix == ".py" and variant == source:
        return f"{path} is a file; name the class or function in it, too: {path}:Class"
    try:
        if path.is_dir() and (source == variant or not source.replace(".", "").isidentifier()):
            return f"{told}{folder_problem(path)}"
        if path.is_file() and suffix != ".py":
            return f"{told}{path} is not a Python file; name one: path/to/file.py:Class"
    except OSError:  # no permission, or no possible path
        return None
    return None


def script_problem(problem: SystemExit) -> str:
    """What to do about a module that is a script: importing it has ended the program."""
    where = place(problem)
    return (
        f"is a script that ends the program when it is imported{where and f' ({where})'}; put its command line and "
        f"whatever runs under `{GUARD}`"
    )


def folder_problem(folder: Path) -> str:
    """What to name instead of a folder that is no package."""
    files = sorted(file.name for file in folder.glob("*.py") if file.name != "__init__.py")
    example = folder / (files[0] if files else "file.py")
    with suppress(ValueError):
        example = example.relative_to(Path.cwd())
    return f"{folder} is a folder; name a file in it: {example}:Class"
