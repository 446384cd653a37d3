"""Python files that lie where a process works, named as modules that it imports: they must not be taken for these."""

from pathlib import Path


def plant(folder: Path, *modules: str) -> Path:
    """A file in ``folder`` for each of ``modules``; returns the file that appears if one of them is ever imported."""
    told = folder / "planted-code-has-run"
    for module in modules:
        (folder / f"{module}.py").write_text(f"open({str(told)!r}, 'a').write({module!r})\n")
    return told
