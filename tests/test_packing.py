"""What travels with a job: networks with what they import, found again there; nothing hidden, no data, no surprises."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.architectures import neighbours as rules
from orchestrator.architectures.neighbours import neighbours
from orchestrator.cli.packed import pack
from orchestrator.cluster.packing import MOST_BYTES, Package
from orchestrator.errors import ExperimentError, StorageError

# Places where files may lie, of which each example has some; what they are, and what they import.
PLACES = ["one.py", "two.py", "three.py", "json.py", "one/__init__.py", "pkg/__init__.py", "pkg/a.py", "pkg/sub/b.py"]
PLACES += ["pkg/.hidden.py", "pkg/.git/c.py", "pkg/venv/d.py", "pkg/__pycache__/e.py", "pkg/key.pem", "pkg/data/f.py"]
PLACES += ["data/g.py", "data/__init__.py", ".env", ".hidden.py", "id_rsa", "orchestrator/__init__.py"]
IMPORTED = ["one", "two", "three", "pkg", "pkg.sub.b", "data", "json", "torch", "orchestrator"]
NAMES = st.lists(st.sampled_from(IMPORTED), max_size=3)
KINDS = st.sampled_from(["file"] * 6 + ["link to key", "link up", "broken link", "circle", "pipe", "nothing"])
TREES = st.fixed_dictionaries({place: st.tuples(KINDS, NAMES) for place in PLACES})
Tree = dict[str, tuple[str, list[str]]]


def build(root: Path, tree: Tree, outside: Path) -> None:
    root.mkdir(parents=True)
    for place, (kind, imports) in tree.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "file":
            path.write_text("".join(f"import {module}\n" for module in imports))
        elif kind == "link to key":
            path.symlink_to(outside / "id_rsa")
        elif kind == "link up":
            (path.parent / f"{path.stem}_up").symlink_to(root)
        elif kind == "broken link":
            path.symlink_to(root / "nowhere.py")
        elif kind == "circle":
            path.symlink_to(path)
        elif kind == "pipe":
            os.mkfifo(path)


@given(TREES, NAMES.filter(bool))
def test_whatever_lies_about_only_source_that_is_imported_travels(
    tmp_path_factory: pytest.TempPathFactory, tree: Tree, imports: list[str]
) -> None:
    home = tmp_path_factory.mktemp("tree")
    (home / "id_rsa").write_text("KEY")
    build(home / "root", tree, home)
    network = home / "root" / "network.py"
    network.write_text("def late():\n    pass\n" + "".join(f"    import {name}\n" for name in imports))
    found = neighbours(home / "root", [network])
    assert len(set(found)) == len(found)
    allowed = set[str]()
    waiting = [network]
    while waiting:  # the same closure, by another way: the text of what has been taken
        for line in waiting.pop().read_text().splitlines():
            top = line.strip().removeprefix("import ").partition(".")[0]
            if line.strip().startswith("import ") and top not in allowed:
                allowed.add(top)
                waiting += [file for file in found if file.relative_to(home / "root").parts[0] in (top, f"{top}.py")]
    for file in found:
        place = file.relative_to(home / "root")
        assert file.suffix == ".py"
        assert file.read_text() != "KEY"
        assert not any(part.startswith(".") for part in place.parts)
        assert not {"venv", "__pycache__"} & set(place.parts)
        assert place.parts[0].removesuffix(".py") in allowed - {"json", "torch", "orchestrator"}
    for name in ("one", "two", "three"):  # and nothing that is imported stays behind
        if name in allowed and rules.is_source(home / "root" / f"{name}.py") and not (home / "root" / name).exists():
            assert home / "root" / f"{name}.py" in found
    package = Package((home / "root").resolve())
    place = package.add_network(network)
    package.write(home / "sent")
    assert {p.relative_to(home / "sent").as_posix() for p in (home / "sent").rglob("*") if not p.is_dir()} == {
        f"submitted/{file.relative_to(home / 'root').as_posix()}" for file in [network, *found]
    }
    assert place == PurePosixPath("network.py")
    assert not [path for path in (home / "sent").rglob("*") if path.is_symlink()]


def test_too_much_is_refused_and_the_largest_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package(tmp_path)
    for name, size in (("huge.py", MOST_BYTES), ("small.py", 10), ("large.py", 5_000_000)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
        package.add(tmp_path / name)
    with pytest.raises(StorageError, match=r"55\.0 MB.*huge\.py \(50\.0 MB\), .*large\.py \(5\.0 MB\)"):
        package.size()
    monkeypatch.setattr(rules, "LIMIT", 20)
    (tmp_path / "wide").mkdir()
    for number in range(30):
        (tmp_path / "wide" / f"m{number}.py").touch()
    (tmp_path / "net.py").write_text("import wide")
    with pytest.raises(StorageError, match="wide has more than"):
        package.add_network(tmp_path / "net.py")


NETWORK = """
import {imports}
from torch import nn

class {name}(nn.Linear):
    def __init__(self, num_classes=2):
        super().__init__(1, 1)
"""
# In the job: the package's root is importable, the process stands in `submitted`.
IN_THE_JOB = """
import json, sys
from pathlib import Path
from orchestrator.architectures import source_digest
from orchestrator.architectures.locate import load_class
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_file
file, *overrides = json.loads(sys.argv[1])
experiment = read_file(Path(file), overrides)
files = [sys.modules[load_class(v.name).__module__].__file__ for v in experiment.variants]
curve = experiment.published_curve
print(json.dumps({
    "names": [v.label for v in experiment.variants],
    "arguments": [v.arguments for v in experiment.variants],
    "files": files,
    "curve": [curve, Path(curve).read_text()],
    "identity": make_plan(experiment).identity(),
}))
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder, with networks in all the places where they may lie; the user stands in ``work``."""
    work = tmp_path / "work"
    layout = {
        "work/top.py": ("beside", "Top"),
        "work/beside.py": ("os", "Beside"),
        "work/deep/below/inner.py": ("friend.of", "Inner"),
        "work/deep/below/friend/of.py": ("friend.more", "Of"),
        "work/deep/below/friend/more.py": ("os", "More"),
        "work/unrelated.py": ("os", "Unrelated"),
        "work/mypackage/__init__.py": ("os", "X"),
        "work/mypackage/nets.py": ("mypackage.parts", "ByName"),
        "work/mypackage/parts.py": ("os", "Parts"),
        "other/outer.py": ("lent", "Outer"),
        "other/lent.py": ("os", "Lent"),
        "real/linked.py": ("where_it_is", "Linked"),
        "real/where_it_is.py": ("os", "W"),
        "home/athome.py": ("os", "AtHome"),
    }
    for place, (imports, name) in layout.items():
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(NETWORK.format(imports=imports, name=name))
    (work / "link.py").symlink_to(tmp_path / "real" / "linked.py")
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves" / "published.csv").write_text("epoch,test_accuracy\n1,50\n")
    (work / "experiments").mkdir()
    variants = [
        "top.py:Top",
        {"name": "./deep/below/inner.py:Inner", "arguments": {"num_classes": 3}},
        "mypackage.nets:ByName",
        {"name": f"{tmp_path}/other/outer.py:Outer", "arguments": {"num_classes": 4}},
        "link.py:Linked",
        "~/athome.py:AtHome",
        "stride",
    ]
    tree = {"name": "places", "variants": variants, "published_curve": "../../curves/published.csv"}
    (work / "experiments" / "places.yaml").write_text(json.dumps(tree))
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    before = set(sys.modules)
    yield work
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("mypackage", "beside", "friend", "lent", "where_it_is"):
            del sys.modules[name]


def test_what_resolves_here_resolves_in_the_job(elsewhere: Path, tmp_path: Path) -> None:
    packed = pack(Path("experiments/places.yaml"), ["seeds=[3]"])
    packed.package.write(tmp_path / "sent")
    sent = {path.relative_to(tmp_path / "sent").as_posix() for path in (tmp_path / "sent").rglob("*") if path.is_file()}
    for place in ("top.py", "beside.py", "deep/below/inner.py", "deep/below/friend/of.py", "experiments/places.yaml"):
        assert f"submitted/{place}" in sent
    assert {"mypackage/__init__.py", "mypackage/nets.py", "mypackage/parts.py"} <= sent
    assert not [place for place in sent if "unrelated" in place]
    (tmp_path / "renamed").mkdir()  # nothing may be found where it was
    for name in ("work", "other", "real", "home", "curves"):
        (tmp_path / name).rename(tmp_path / "renamed" / name)
    os.chdir(tmp_path)
    arguments = json.dumps([str(packed.file), "seeds=[3]", *packed.overrides])
    found = subprocess.run(
        [sys.executable, "-c", IN_THE_JOB, arguments],
        cwd=tmp_path / "sent" / packed.folder,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "sent"), "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["names"] == ["Top", "Inner", "ByName", "Outer", "Linked", "AtHome", "stride"]
    assert told["arguments"] == [{}, {"num_classes": 3}, {}, {"num_classes": 4}, {}, {}, {}]
    assert all(Path(file).is_relative_to(tmp_path / "sent") for file in told["files"][:-1])
    assert told["curve"][1].startswith("epoch,test_accuracy")
    assert packed.trials == 7


def test_one_experiment_is_one_digest(elsewhere: Path, tmp_path: Path) -> None:
    file = Path("experiments/places.yaml")
    first = pack(file, []).digest()
    assert pack(file.absolute(), ["seeds=[0]"]).digest() == first
    tree = json.loads(file.read_text())
    moved = Path("elsewhere.yaml")  # another file, the same networks and curve by other paths
    tree["variants"][0] = str(elsewhere / "top.py") + ":Top"
    tree["published_curve"] = str(tmp_path / "curves" / "published.csv")
    moved.write_text(json.dumps(tree))
    assert pack(moved, []).digest() == first
    seen = {first}
    for override in ("seeds=[1]", "trainer.epochs=3", "name=other", "variants.1.arguments.num_classes=5"):
        seen.add(pack(file, [override]).digest())
    seen.add(pack(file, []).digest([("--storage", "/x")]))
    (elsewhere / "top.py").write_text((elsewhere / "top.py").read_text() + "# edited\n")
    seen.add(pack(file, []).digest())
    (tmp_path / "curves" / "published.csv").write_text("epoch,test_accuracy\n1,51\n")
    seen.add(pack(file, []).digest())
    assert len(seen) == 8


def test_every_problem_is_listed(elsewhere: Path) -> None:
    (elsewhere / "broken.py").write_text("import nothing_like_this\n")
    wrong = json.dumps(["broken.py:Net", "top.py:Lacking", "top.py:Top"])
    with pytest.raises(ExperimentError) as refused:
        pack(Path("experiments/places.yaml"), [f"variants={wrong}"])
    assert len(refused.value.problems) == 2
    assert "nothing_like_this" in refused.value.problems[0]
    assert "Lacking does not exist" in refused.value.problems[1]
