"""What a job gets of the project folder: what Ray would upload, what the network needs, and never a key."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray._private.runtime_env.packaging import _zip_files

from orchestrator.cluster import working_dir as rules
from orchestrator.cluster.submit import Submission
from orchestrator.cluster.working_dir import WorkingDir, working_dir
from orchestrator.errors import ExperimentError, StorageError
from orchestrator.workflow.submit import prepare

# Places where files may lie, of which each example has some, and what lies there.
PLACES = ["one.py", "pkg/__init__.py", "pkg/weights.txt", "pkg/sub/b.py", "pkg/venv/bin/x", "pkg/venv/pyvenv.cfg"]
PLACES += [".env", ".git/config", "pkg/.hidden/c.py", "pkg/__pycache__/d.pyc", "server.pem", "id_rsa", "keys/a.key"]
PLACES += ["data/images.bin", "storage/x/launch.json", "mlflow.db", "odd #1 [a]*.txt", "big/notes.md", "big/table.csv"]
SECRET = [".env", ".git/config", "pkg/.hidden/c.py", "server.pem", "id_rsa", "keys/a.key"]
KINDS = ["file"] * 6 + ["link within", "link outside", "link to a folder", "broken link", "circle", "pipe", "nothing"]
TREES = st.fixed_dictionaries({place: st.sampled_from(KINDS) for place in PLACES})
IGNORED = st.sampled_from(["", "big\n", "*.csv\n!table.csv\n", "# nothing\n", "/one.py\n"])


def build(root: Path, tree: dict[str, str], outside: Path) -> None:
    root.mkdir(parents=True)
    (root / "plain.txt").write_text("plain")
    for place, kind in tree.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "file":
            path.write_text(place)
        elif kind == "link within":
            path.symlink_to(root / "plain.txt")
        elif kind == "link outside":
            path.symlink_to(outside / "secret")
        elif kind == "link to a folder":
            path.symlink_to(root)
        elif kind == "broken link":
            path.symlink_to(root / "nowhere")
        elif kind == "circle":
            path.symlink_to(path)
        elif kind == "pipe":
            os.mkfifo(path)


def uploaded_by_ray(found: WorkingDir, archive: Path) -> dict[str, str]:
    """What Ray's own function puts into the archive that it uploads: name and content of each file."""
    _zip_files(str(found.folder), found.excludes, str(archive), include_gitignore=True)
    with zipfile.ZipFile(archive) as packed:
        return {name: packed.read(name).decode() for name in packed.namelist() if not name.endswith("/")}


@given(TREES, IGNORED)
def test_what_is_counted_is_what_ray_uploads(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, str], ignored: str
) -> None:
    home = tmp_path_factory.mktemp("tree").resolve()
    (home / "secret").write_text("KEY")
    root = home / "root"
    build(root, tree, home)
    (root / ".gitignore").write_text(ignored)
    found = working_dir(root, [root / "data", root / "storage"])
    sent = uploaded_by_ray(found, home / "sent.zip")
    assert sent.keys() == found.files.keys()
    assert {place: len(text) for place, text in sent.items()} == found.files
    assert "KEY" not in sent.values()
    assert not {*SECRET, "mlflow.db"} & sent.keys()
    assert not [place for place in sent if place.startswith(("data/", "storage/")) or "__pycache__" in place]
    for place in ("one.py", "pkg/weights.txt", "odd #1 [a]*.txt"):  # and nothing that is needed stays here
        if tree[place] in ("file", "link within") and ignored != "/one.py\n":
            assert place in sent
    assert ("big/table.csv" in sent) == (tree["big/table.csv"] in ("file", "link within") and ignored != "big\n")


def test_too_much_is_refused_and_the_largest_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("huge.bin", 100 * 2**20), ("small.py", 10), ("large.bin", 5 * 2**20)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    with pytest.raises(StorageError, match=r"105\.0 MiB.*accepts 100 MiB.*huge\.bin \(100\.0 MiB\), large\.bin \(5\.0"):
        working_dir(tmp_path).size()
    (tmp_path / ".rayignore").write_text("*.bin\n")
    assert working_dir(tmp_path).size() == 10
    monkeypatch.setattr(rules, "MOST_FILES", 20)
    for number in range(30):
        (tmp_path / f"m{number}.py").touch()
    with pytest.raises(StorageError, match="more than 20 files"):
        working_dir(tmp_path)


NETWORK = """
from pathlib import Path
import {imports}
from torch import nn

SAID = (Path(__file__).parent / "{reads}").read_text()

class {name}(nn.Linear):
    def __init__(self, num_classes=2):
        super().__init__(1, 1)
"""
# In the job: the working directory is importable, the process stands where the user stood.
IN_THE_JOB = """
import json, sys
from pathlib import Path
from orchestrator.architectures.locate import load_network
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_file
file, *options = json.loads(sys.argv[1])
experiment = read_file(Path(file), options[1::2])
classes = [load_network(v.name) for v in experiment.variants]
curve = experiment.published_curve
print(json.dumps({
    "names": [v.label for v in experiment.variants],
    "arguments": [v.arguments for v in experiment.variants],
    "files": [sys.modules[c.__module__].__file__ for c in classes],
    "curve": curve and [curve, Path(curve).read_text()],
    "identity": make_plan(experiment).identity(),
}))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's project, with networks in all the places where they may lie; the user stands in it."""
    project = tmp_path / "project"
    layout = {
        "top.py": ("beside", "../plain.txt", "Top"),
        "beside.py": ("os", "../plain.txt", "Beside"),
        "deep/below/inner.py": ("friend.of", "words.txt", "Inner"),
        "deep/below/friend/of.py": ("friend.more", "../words.txt", "Of"),
        "deep/below/friend/more.py": ("os", "../words.txt", "More"),
        "mypackage/__init__.py": ("os", "words.txt", "X"),
        "mypackage/nets.py": ("mypackage.parts", "words.txt", "ByName"),
        "mypackage/parts.py": ("os", "words.txt", "Parts"),
        "real/linked.py": ("where_it_is", "words.txt", "Linked"),
        "real/where_it_is.py": ("os", "words.txt", "W"),
    }
    for place, (imports, reads, name) in layout.items():
        path = project / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(NETWORK.format(imports=imports, reads=reads.replace("../plain", "plain"), name=name))
    for place in ("plain.txt", "deep/below/words.txt", "mypackage/words.txt", "real/words.txt"):
        (project / place).write_text("a file beside the network")
    (project / "link.py").symlink_to(project / "real" / "linked.py")
    (project / "curves").mkdir()
    (project / "curves" / "published.csv").write_text("epoch,test_accuracy\n1,50\n")
    (project / "experiments").mkdir()
    variants = [
        "top.py:Top",
        {"name": "./deep/below/inner.py:Inner", "arguments": {"num_classes": 3}},
        "mypackage.nets:ByName",
        {"name": f"{project}/beside.py:Beside", "arguments": {"num_classes": 4}},
        "link.py:Linked",
        "stride",
    ]
    tree = {"name": "places", "variants": variants, "published": {"curve": "../curves/published.csv"}}
    (project / "experiments" / "places.yaml").write_text(json.dumps(tree))
    monkeypatch.chdir(project)
    before = set(sys.modules)
    yield project
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("mypackage", "beside", "friend", "where_it_is"):
            del sys.modules[name]


def in_the_job(submission: Submission, project: Path, tmp_path: Path) -> Any:
    """Unpack what Ray uploads, take the project away, and read the experiment there as the job's driver does."""
    sent = tmp_path / "sent"
    _zip_files(str(submission.working_dir.folder), submission.working_dir.excludes, str(tmp_path / "sent.zip"), True)
    with zipfile.ZipFile(tmp_path / "sent.zip") as packed:
        packed.extractall(sent)
    os.chdir(tmp_path)
    project.rename(tmp_path / "renamed")  # nothing may be found where it was
    found = subprocess.run(
        [sys.executable, "-c", IN_THE_JOB, json.dumps(submission.arguments)],
        cwd=sent / submission.folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(sent), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_what_resolves_here_resolves_in_the_job(project: Path, tmp_path: Path) -> None:
    submission = prepare(Path("experiments/places.yaml"), ["seeds=[3]"])
    assert submission.trials == 6
    assert submission.folder == "."
    job = in_the_job(submission, project, tmp_path)
    assert job["names"] == ["Top", "Inner", "ByName", "Beside", "Linked", "stride"]
    assert job["arguments"] == [{}, {"num_classes": 3}, {}, {"num_classes": 4}, {}, {}]
    assert all(Path(file).is_relative_to(tmp_path / "sent") for file in job["files"][:-1])
    assert job["curve"][0].startswith(str(tmp_path / "sent"))


def test_what_lies_beside_the_file_and_what_arguments_name_is_found_in_the_job(project: Path, tmp_path: Path) -> None:
    absolute = {"class": f"{project}/deep/below/inner.py:Inner"}
    variants = [
        {
            "name": "own.py:Own",
            "as": "wide",
            "arguments": {"num_classes": 3, "of": [{"class": "own.py:Own"}, absolute]},
        },
        {"name": "own.py:Own", "as": "narrow"},
    ]
    choice = {"arguments.of": {"choice": [absolute], "variants": ["wide"]}}
    tree = {"name": "beside", "variants": variants, "search": {"samples": 1, "space": choice}, "dataset": {"name": "x"}}
    (project / "experiments" / "beside.yaml").write_text(json.dumps(tree))
    text = NETWORK.format(imports="os", reads="words.txt", name="Own").replace("=2)", "=2, of=())")
    (project / "experiments" / "own.py").write_text(text)
    (project / "experiments" / "words.txt").write_text("")
    submission = prepare(Path("experiments/beside.yaml"))
    job = in_the_job(submission, project, tmp_path)
    assert job["names"] == ["wide", "narrow"]
    here = {"class": "deep/below/inner.py:Inner"}
    assert job["arguments"] == [{"num_classes": 3, "of": [{"class": "experiments/own.py:Own"}, here]}, {}]
    assert all(file == str(tmp_path / "sent" / "experiments" / "own.py") for file in job["files"])
    assert json.dumps(here) in " ".join(submission.arguments)


def test_a_class_in_arguments_must_be_uploaded_too(project: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("class Block: ...\n")
    (project / ".gitignore").write_text("beside.py\n")
    given = [{"class": "../outside.py:Block"}, {"class": "top.py:Top"}]
    tree = json.dumps([{"name": "stride", "as": "x", "arguments": {"blocks": given}}])
    with pytest.raises(ExperimentError) as refused:
        prepare(Path("experiments/places.yaml"), [f"variants={tree}"])
    outside, beside = refused.value.problems
    assert outside.startswith(f"../outside.py:Block: {tmp_path}/outside.py is not in {project}")
    assert beside.startswith(f"top.py:Top: {project}/beside.py is not uploaded, because .gitignore")


def test_a_folder_within_the_project_may_be_the_current_one(project: Path, tmp_path: Path) -> None:
    os.chdir(project / "experiments")
    submission = prepare(Path("places.yaml"), ['variants=["../top.py:Top", "mypackage.nets:ByName"]'], folder=project)
    assert submission.folder == "experiments"
    assert "--working-dir" in submission.command
    job = in_the_job(submission, project, tmp_path)
    assert job["names"] == ["Top", "ByName"]


@pytest.mark.parametrize("folder", ["experiments/ignored", ".hidden", "storage/deep"])
def test_a_folder_that_the_job_would_not_have_is_refused_as_the_current_one(folder: str, project: Path) -> None:
    (project / ".gitignore").write_text("ignored\n")
    here = project / folder
    here.mkdir(parents=True)
    (here / "note.txt").write_text("not uploaded")
    os.chdir(here)
    file = os.path.relpath(project / "experiments" / "places.yaml")
    with pytest.raises(ExperimentError, match=rf"nothing in the current folder, {here}, is uploaded") as refused:
        prepare(Path(file), ["variants=[stride]", "published=null"], folder=project)
    assert f"such as {project}" in str(refused.value)


def test_an_empty_folder_may_be_the_current_one(project: Path, tmp_path: Path) -> None:
    (project / "empty" / "deep").mkdir(parents=True)
    os.chdir(project / "empty")
    submission = prepare(Path("../experiments/places.yaml"), ['variants=["../top.py:Top"]'], folder=project)
    assert in_the_job(submission, project, tmp_path)["names"] == ["Top"]


def test_results_and_datasets_of_the_project_and_of_the_current_folder_stay(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_STORAGE", "results")
    here, kept = project / "experiments", {"top.py", "experiments/note.txt", "mypackage/data/__init__.py"}
    for folder in ("data", "storage", "trials", "experiments/data", "experiments/storage", "experiments/trials",
                   "experiments/results", "mypackage/data"):  # fmt: skip
        (project / folder).mkdir(exist_ok=True)
        (project / folder / "big.bin").write_text("x")
    (here / "note.txt").write_text("x")
    (project / "mypackage" / "data" / "__init__.py").write_text("")
    monkeypatch.chdir(here)
    sent = prepare(Path("places.yaml"), ['variants=["../top.py:Top"]'], folder=project).working_dir.files
    assert kept <= set(sent)
    assert [place for place in sent if place.endswith("big.bin")] == ["mypackage/data/big.bin"]


def test_the_hash_of_what_is_uploaded_identifies_the_job(project: Path) -> None:
    file = Path("experiments/places.yaml")
    first = prepare(file).digest
    (project / ".hidden").write_text("not uploaded")
    (project / "storage").mkdir()
    (project / "storage" / "result.json").write_text("not uploaded")
    assert prepare(file, ["seeds=[0]"]).digest == first
    seen = {first}
    for override in ("seeds=[1]", "trainer.epochs=3", "name=other", "variants.1.arguments.num_classes=5"):
        seen.add(prepare(file, [override]).digest)
    seen.add(prepare(file, storage="/x").digest)
    for edited in ("top.py", "deep/below/words.txt", "curves/published.csv"):
        (project / edited).write_text((project / edited).read_text() + "\n")
        seen.add(prepare(file).digest)
    assert len(seen) == 9


def test_a_storage_whose_server_mlflow_would_not_find_is_refused(project: Path) -> None:
    place = "s3://bucket/x?endpoint_override=127.0.0.1:9000&scheme=http"
    with pytest.raises(ExperimentError) as refused:
        prepare(Path("experiments/places.yaml"), storage=place)
    [problem] = refused.value.problems
    assert problem.startswith("--storage names its server by endpoint_override")


def test_every_problem_is_listed(project: Path, tmp_path: Path) -> None:
    (project / "broken.py").write_text("import nothing_like_this\n")
    (project / ".gitignore").write_text("beside.py\n")
    (tmp_path / "outside.py").write_text(NETWORK.format(imports="os", reads="plain.txt", name="Out"))
    (tmp_path / "plain.txt").write_text("")
    (project / "src" / "inner").mkdir(parents=True)
    (project / "src" / "inner" / "__init__.py").write_text("from torch import nn\nclass Inside(nn.Linear): ...\n")
    sys.path.append(str(project / "src"))
    variants = ["broken.py:Net", "deep/below/inner.py:Lacking", "../outside.py:Out", "top.py:Top", "inner:Inside"]
    try:
        with pytest.raises(ExperimentError) as refused:
            prepare(Path("experiments/places.yaml"), [f"variants={json.dumps(variants)}"], storage="here")
    finally:
        sys.path.remove(str(project / "src"))
        del sys.modules["inner"]
    for words in (
        "--storage here",
        "nothing_like_this",
        "Lacking does not exist",
        "variants.4: the job can import inner only from the top",
        "src/inner/__init__.py:Inside",
        f"variants.2: {tmp_path}/outside.py is not in {project}",
        f"variants.3: {project}/beside.py is not uploaded, because .gitignore",
    ):
        assert words in str(refused.value)
    assert len(refused.value.problems) == 6
