"""The commands through their real entry point: output, exit codes, one JSON document, no tracebacks."""

import gc
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from driving import EXPERIMENT, ORCHESTRATOR, QUIET_ENVIRONMENT, orchestrator
from patience import PATIENCE

from orchestrator.architectures import VARIANTS
from orchestrator.cli.main import COMMANDS, main


@pytest.fixture
def experiment(tmp_path: Path, network_file: Path, packed: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(EXPERIMENT.format(networks=network_file, data=packed, second="Failing"))
    return file


Here = Callable[..., tuple[int | str | None, str, str]]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """Runs a command in this process, which stays as it is: its exit code, stdout and stderr."""
    handler, threshold = signal.getsignal(signal.SIGTERM), gc.get_threshold()

    def run(*arguments: str) -> tuple[int | str | None, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        return (ended.value.code, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, handler)
    gc.set_threshold(*threshold)
    gc.unfreeze()


def test_help_lists_every_command_and_is_quick_to_import() -> None:
    helped = orchestrator("--help", cwd=Path.cwd())
    assert helped.returncode == 0
    for name in COMMANDS:
        assert name in helped.stdout
    heavy = {"torch", "ray", "mlflow", "matplotlib", "numpy", "rich", "pydantic", "yaml"}
    code = f"import sys, orchestrator.cli; print(sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "absent.yaml"], "absent.yaml: 1 problem"),
        (["validate", "absent.yaml"], "cannot be read"),
        (["compare", "nothing"], "there is no tracking store"),
        (["resume", "nothing"], "holds no launch of 'nothing'"),
        (["inspect", "strid"], "did you mean stride?"),
        (["inspect", "stride", "--size", "big"], "not a number of pixels"),
        (["inspect", "stride", "--figure", "x.doc"], ".png, .svg or .pdf"),
        (["train", "strid"], "did you mean stride?"),
        (["train", "stride", "--set", "trainer.epochs=0"], "must be at least 1"),
        (["train", "stride", "--set", "variant=grouped_concat"], "variant: name the network as VARIANT, not by --set"),
        (["train", "stride", "--set", "source_digest=a"], "source_digest: unknown key; allowed: as, arguments, seed,"),
        (["train", "stride", "--set", "lr=1"], "did you mean trainer.optimizer.lr?"),
        (["train", "stride", "--dataset", "nowhere/at/all"], "nowhere/at/all"),
        (["train", "stride", "--dataset", "digit"], "did you mean digits?"),
        (["ui", "--tracking-uri", "http://127.0.0.1:1"], "a tracking server with its own page"),
        (["frobnicate"], "No such command"),
        (["run"], "Missing argument"),
    ],
)
def test_a_wrong_request_is_one_clear_error(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, told = here(*arguments)
    assert (code, printed) == (2, ""), told
    assert words in told
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []  # and leaves nothing behind


def test_variants_as_json(tmp_path: Path) -> None:
    rows = json.loads(orchestrator("variants", "--json", cwd=tmp_path).stdout)
    assert [row["variant"] for row in rows] == list(VARIANTS)
    by_name = {row["variant"]: row for row in rows}
    assert by_name["stride"]["parameters"] == 192_298
    assert by_name["stride"]["receptive_field"] == {"features": 41, "output": 67}


@pytest.mark.parametrize(
    ("variant", "parameters", "features", "output"),
    [
        ("stride", 192_298, 41, 67),
        ("grouped_concat", 145_114, 39, 55),
        ("dilated_separable", 98_779, 51, 71),
        ("dilated_stride", 186_570, 61, 69),
    ],
)
def test_inspect_as_json(variant: str, parameters: int, features: int, output: int, here: Here) -> None:
    code, printed, _ = here("inspect", variant, "--json")
    assert code == 0
    plain = json.loads(printed)
    assert plain["parameters"] == parameters
    assert plain["receptive_field"] == {"features": features, "output": output}
    assert plain["output_shape"] == [10]
    assert {"name", "type", "output_shape", "parameters", "kernel", "stride", "padding", "dilation", "groups", "jump",
            "receptive_field"} <= set(plain["layers"][0])  # fmt: skip
    assert sum(layer["parameters"] for layer in plain["layers"]) == parameters


@pytest.mark.ray
def test_asking_for_too_much_is_refused_before_anything_waits(experiment: Path, tmp_path: Path) -> None:
    refused = orchestrator("run", str(experiment), "--set", "resources.cpus=4096", cwd=tmp_path)
    assert refused.returncode == 2
    assert "4096 CPUs" in refused.stderr


def test_validate_prints_the_plan_and_trains_nothing(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here
) -> None:
    before = sorted(tmp_path.iterdir())
    plan = json.loads(orchestrator("validate", str(experiment), "--json", cwd=tmp_path).stdout)
    assert plan["trials"][0]["trial"] == "Tiny/seed-0"
    assert plan["dataset"]["train"] == 120
    monkeypatch.chdir(tmp_path)
    assert "Tiny" in here("validate", str(experiment))[1]
    assert sorted(tmp_path.iterdir()) == before
    code, _, told = here("validate", str(experiment), "--set", "contract.max_parameters=100")
    assert (code, "201" in told) == (2, True), told
    code, _, told = here("validate", str(experiment), "--set", 'trainer.augmentation=[{"HorizontalFlop": {}}]')
    assert (code, "HorizontalFlip" in told) == (2, True), told


def test_the_printed_schema_knows_every_key_of_our_experiments(tmp_path: Path) -> None:
    printed = json.loads(orchestrator("validate", "--schema", cwd=tmp_path).stdout)
    assert printed["title"] == "Experiment"
    files = list((Path(__file__).parents[1] / "experiments").rglob("*.yaml"))
    assert files
    for file in files:
        assert yaml.safe_load(file.read_text()).keys() <= printed["properties"].keys()


def test_train_leaves_a_folder_and_carries_on(packed: Path, network_file: Path, tmp_path: Path) -> None:
    command = ["train", f"{network_file}:Tiny", "--dataset", str(packed), "--epochs", "2", "--out", "t", "--json"]
    first = orchestrator(*command, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    assert (summary["status"], summary["epochs"], summary["parameters"]) == ("complete", 2, 201)
    assert (tmp_path / "t" / "report.html").exists()
    saved = (tmp_path / "t" / "checkpoints" / "best.pt").stat().st_mtime_ns
    second = orchestrator(*command, cwd=tmp_path)
    assert json.loads(second.stdout)["metrics"] == summary["metrics"]
    assert (tmp_path / "t" / "checkpoints" / "best.pt").stat().st_mtime_ns == saved  # nothing was trained again
    other = orchestrator(*command, "--seed", "1", cwd=tmp_path)
    assert other.returncode == 2
    assert "holds another trial: seed (0 there, 1 now); give another folder with --out" in other.stderr


BLOCKER = """
import importlib.machinery, sys

class Without(importlib.machinery.PathFinder):
    # The usual finder, on a machine where some packages are not installed.
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {blocked!r} else super().find_spec(name, path, target)

sys.meta_path = [Without if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
"""
AUGMENTED = [{"HorizontalFlip": {"p": 0.5}}, {"ShiftScaleRotate": {"p": 0.5}}, {"CoarseDropout": {"fill": "mean"}}]


@pytest.mark.parametrize("how", ["trial", "train"])
def test_a_trial_needs_torch_only(how: str, packed: Path, network_file: Path, tmp_path: Path) -> None:
    """Ray, MLflow and the rest cannot even be imported, in the process that trains."""
    blocked = {"ray", "mlflow", "yaml", "albumentations", "torchvision", "cv2"}
    if how == "trial":
        blocked |= {"sklearn", "pyarrow", "pydantic", "matplotlib", "rich", "click", "scipy", "pandas", "PIL"}
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BLOCKER.format(blocked=blocked))
    environment = {"PYTHONPATH": str(site)}
    if how == "trial":
        spec = {
            "variant": f"{network_file}:Tiny",
            "dataset": {"name": str(packed)},
            "trainer": {"epochs": 2, "augmentation": AUGMENTED},
        }
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        command = [sys.executable, "-m", "orchestrator.trial", "spec.json", "--out", "t"]
    else:
        command = [ORCHESTRATOR, "train", f"{network_file}:Tiny", "--dataset", str(packed), "--epochs", "2",
                   "--out", "t", "--set", f"trainer.augmentation={json.dumps(AUGMENTED)}"]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**QUIET_ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "t" / "outcome.json").read_text())["status"] == "complete"
    blocked_import = subprocess.run(
        [sys.executable, "-c", "import ray"], env={**QUIET_ENVIRONMENT, **environment}, capture_output=True
    )
    assert blocked_import.returncode == 1  # the blocker does block


def test_the_command_is_installed_where_python_is() -> None:
    assert shutil.which(ORCHESTRATOR)
