"""The benchmarks measure what they say: each one's functions in a tiny setting. Nothing here depends on a time."""

import importlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from patience import PATIENCE
from recording import open_runs, record

from orchestrator.architectures import VARIANTS
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment, read_file
from orchestrator.records import Outcome, Record, Status
from orchestrator.scheduling.checkpoints import list_checkpoints
from orchestrator.tracking.sink import Sink
from orchestrator.tracking.trial_rows import read_trials
from orchestrator.trial import TrialFolder

FOLDER = Path(__file__).parent.parent / "benchmarks"
NAMES = (
    "common", "published", "hot_loop", "packing", "tracking", "trial_overhead", "roofline", "study", "accuracy",
    "launches", "reading", "checkpointing", "gpu", "gpu_accuracy", "gpu_common", "gpu_equality", "gpu_packing",
    "gpu_path", "gpu_speed", "gpu_verdict", "gpu_workers",
)  # fmt: skip


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a benchmark by its name, as it is imported where it runs."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_the_verdict(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    common = benchmark("common")
    fast = common.Comparison("a", [1.0, 2.0, 1.0], [4.0, 4.0, 5.0], "s", 3.0)
    slow = common.Comparison("b", [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], "s")
    assert (fast.ratio, fast.spread, slow.ratio) == (4.0, (2.0, 5.0), 1.0)
    assert common.report("x", [fast, slow], must_reach=2.0, as_json=True) == 0
    document = printed(capsys)
    assert {"benchmark", "ratio", "must_reach", "samples", "machine"} <= set(document)
    assert document["ratio"] == pytest.approx(2.0)  # the geometric mean
    assert common.report("x", [fast, slow], must_reach=2.1, as_json=True) == 1
    assert common.report("x", [fast], as_json=True) == 0
    short = common.Comparison("c", [1.0], [2.0], "s", 3.0)
    capsys.readouterr()
    assert common.report("x", [fast, short], as_json=True) == 1
    assert (document := printed(capsys))["ratio"] == 2.0
    assert document["must_reach"] == 3.0
    assert common.report("x", [fast], as_json=False, holds=False) == 1
    assert "FALLS SHORT" in capsys.readouterr().out


def test_fewer_than_three_repeats_are_refused(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--repeats", "2"])
    with pytest.raises(SystemExit):
        benchmark("common").arguments("x")


def test_both_sides_of_the_hot_loop_train(benchmark: Any) -> None:
    hot_loop: ModuleType = benchmark("hot_loop")
    side = benchmark("common").Side()  # our training stays open between two measurements
    assert side.call(hot_loop.ours, "dilated_separable", 64, None) > 0
    side.close()
    assert hot_loop.theirs("dilated_separable", 64, None) > 0
    network = hot_loop._their_pipeline("dilated_separable", 64, None).network
    before = [p.detach().clone() for p in network.parameters()]
    hot_loop.theirs("dilated_separable", 64, None)
    assert all(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


def test_the_published_pipeline_takes_every_picture_once(benchmark: Any) -> None:
    published = benchmark("published")
    assert set(published.SETTINGS) == set(VARIANTS)
    images, labels = benchmark("common").pictures(40)
    assert images.shape == (40, 3, 32, 32)
    told: list[dict[str, float]] = []
    settings = (16, published.SETTINGS["grouped_concat"][1])
    published.train_whole("grouped_concat", 0, settings, 2, (images, labels), (images, labels), 0, told.append)
    assert [figures["epoch"] for figures in told] == [1, 2]
    pipeline = published.Pipeline("grouped_concat", images, labels, settings)
    assert sorted(label for _, batch in pipeline.loader for label in batch.tolist()) == sorted(labels.tolist())
    for variant in VARIANTS:  # one recipe on both sides
        assert published.recipe(variant).augmentation == published.PIPELINE
        assert (published.recipe(variant).batch_size, published.recipe(variant).optimizer) == published.SETTINGS[
            variant
        ]


@pytest.mark.slow
def test_tracking_delivers_every_metric_on_both_sides(benchmark: Any, tmp_path: Path) -> None:
    tracking = benchmark("tracking")
    from mlflow import MlflowClient

    with tracking.open_sink(tmp_path) as sink:
        tracking.ours(*sink, count(1), 3)
    with tracking.open_callback(tmp_path) as callback:
        tracking.theirs(*callback, count(1), 3)
    for store in ("ours", "theirs"):
        client = MlflowClient(f"sqlite:///{tmp_path / store}.db")
        experiments = [e.experiment_id for e in client.search_experiments()]
        runs = [run for run in client.search_runs(experiments) if "metric_15" in run.data.metrics]
        assert len(runs) == 1
        for position in range(tracking.METRICS):
            history = client.get_metric_history(runs[0].info.run_id, f"metric_{position}")
            assert [m.step for m in history] == [1, 2, 3], store


def test_the_roofline_counts_what_the_network_needs(benchmark: Any) -> None:
    from orchestrator.analysis import analyse
    from orchestrator.architectures import build_network
    from orchestrator.spec import Recipe

    roofline = benchmark("roofline")
    macs = analyse(build_network("stride"), (3, 32, 32)).macs
    first = 8 * 27 * 32 * 32  # its first convolution: 3 to 8 channels, 3 x 3
    assert roofline.operations("stride") == 6 * macs - 2 * first
    step, device, _ = roofline.build("stride", Recipe(batch_size=4, device="cpu"), 4)
    assert roofline.seconds(step, device) > 0
    assert roofline.peak_cost(device, torch.float32, 64) > 0


def test_a_side_is_a_process_with_threads_of_its_own(benchmark: Any) -> None:
    side = benchmark("common").Side(threads=2)
    try:
        assert side.call(torch.get_num_threads) == 2
    finally:
        side.close()


def test_the_studys_experiment_can_be_read(benchmark: Any, tmp_path: Path) -> None:
    from orchestrator.data.packed import load_packed
    from orchestrator.experiment.reader import read_experiment

    study = benchmark("study")
    data = study.make_data(tmp_path, 40, None)
    assert [len(split) for split in (load_packed(data, "x").train, load_packed(data, "x").test)] == [40, 10]
    experiment = read_experiment(study.experiment(data, 2, list(VARIANTS)), "study")
    assert (len(experiment.variants), experiment.seeds, experiment.trainer.batch_size) == (5, (0, 1), 128)
    study.sequential(tmp_path, data, 1, ["grouped_concat"])


def test_the_pace_of_trials_leaves_out_the_start(benchmark: Any) -> None:
    assert benchmark("trial_overhead").pace([10.0, 11.0, 12.0, 14.0]) == pytest.approx(4 / 3)


@pytest.mark.ray
@pytest.mark.slow
def test_trial_overhead_runs_every_side(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.scheduling.session import ray_session

    overhead = benchmark("trial_overhead")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    with ray_session(cpus=1):
        assert overhead.ours(tmp_path, 2) > 0
        assert overhead.tune_pace(overhead.plain, tmp_path, 2, reuse=False) > 0
        assert overhead.tune_pace(overhead.reusing(), tmp_path, 2, reuse=True) > 0


def test_accuracy_is_within_noise_or_is_not(benchmark: Any) -> None:
    accuracy = benchmark("accuracy")
    theirs = [0.200, 0.210, 0.190]
    least, (low, high) = accuracy.within_noise([0.205, 0.195, 0.215], theirs)
    assert low < 0 < high
    assert least < 0.200 / 0.205
    least, (low, high) = accuracy.within_noise([0.300, 0.310, 0.290], theirs)
    assert high < 0  # a loss of ten points is seen
    assert least > 0.200 / 0.300


@pytest.mark.slow
def test_both_sides_of_accuracy_learn(benchmark: Any) -> None:
    accuracy = benchmark("accuracy")
    for side in (accuracy.ours, accuracy.theirs):
        assert 0 <= side("dilated_separable", 0, 2, None) < 0.9  # of digits; chance is 0.9


@pytest.mark.parametrize("trials", [1, 30])
def test_the_trivial_experiment_has_so_many_trials(benchmark: Any, trials: int, tmp_path: Path) -> None:
    file = benchmark("launches").trivial_experiment(tmp_path, trials)
    assert len(make_plan(read_file(file)).trials) == trials


def test_a_launch_is_multiplied_as_if_all_had_been_recorded(benchmark: Any, tmp_path: Path) -> None:
    search = {"samples": 2, "space": {"trainer.optimizer.lr": {"uniform": [0.1, 0.2]}}}
    plan = make_plan(read_experiment({"name": "exp", "variants": ["stride"], "search": search}, "x"))
    runs = open_runs(f"sqlite:///{tmp_path / 'mlflow.db'}", plan)
    sink = Sink(runs)
    for spec in plan.trials:
        sink.on_record(spec.name, record(1))
        sink.on_end(Outcome(spec.name, Status.COMPLETE))
    sink.close(Status.COMPLETE)
    benchmark("reading").multiply(tmp_path / "mlflow.db", 12)
    rows = read_trials(runs.client, runs.parent_run_id)
    assert [row.sample for row in rows] == list(range(12))
    assert {(row.status, row.epochs) for row in rows} == {("complete", 1)}


def test_an_epoch_is_persisted_within_its_bytes(benchmark: Any, tmp_path: Path) -> None:
    timed, counted = benchmark("checkpointing").compare("stride", tmp_path, repeats=3, seconds=0.01)
    assert all(cost > 0 for cost in (*timed.ours, *timed.theirs))
    assert counted.ratio >= counted.must_reach
    newest = list_checkpoints(tmp_path / "kept")[0]
    assert TrialFolder(newest).checkpoint()["epoch"] == 2 + 4  # two to warm up, one that does not count


def test_the_gpu_benchmark_fails_where_something_in_it_has(benchmark: Any) -> None:
    gpu = benchmark("gpu")
    packed = {"grouped_concat": {"plain": {"1": {"images_per_second": 5, "failed": 0, "reason": ""}}}}
    good = {"machine": {}, "packing": {"seconds": 1.0, "result": packed}, "equality": {"result": {"unequal": []}}}
    assert not gpu.has_failed(good)
    for bad in ({"failed": "why"}, [{"best": 0.5}, {"failed": "why"}], {"1": {"failed": 2}}, {"unequal": ["sgd"]}):
        assert gpu.has_failed({**good, "speed": {"seconds": 1.0, "result": bad}})


def test_what_is_refused_proves_nothing_unless_it_must_be(benchmark: Any) -> None:
    """It is computed, and so equal to what is computed."""
    as_expected = benchmark("gpu_equality").said_as_expected
    start = "the training step is not recorded as a CUDA graph: "
    on_host, counts = f"{start}float16 and a momentum are decided on the host", f"{start}it changes Counts.calls"
    assert as_expected("sgd", [])
    assert as_expected("sgd", ["something else"])
    assert not as_expected("sgd", [on_host])
    assert as_expected("float16", [on_host])
    assert not as_expected("float16", [])
    assert not as_expected("float16", [on_host, counts])
    assert as_expected("1 Counts", [counts, counts])
    assert not as_expected("1 Counts", [])
    assert not as_expected("7 Plain", [counts])


def test_what_is_left_out_for_lack_of_time_has_failed(benchmark: Any, tmp_path: Path) -> None:
    gpu, common = benchmark("gpu"), benchmark("gpu_common")
    setting = common.Setting("cpu", True, -math.inf, None, 1, tmp_path)
    for part in ("equality", "networks", "speed", "waiting", "other_modes", "against_published"):
        assert gpu.has_failed({part: {"result": gpu.PARTS[part](setting)}}), part
    cases = gpu.PARTS["equality"](setting)
    assert cases["unequal"] == list(cases["each"])
    assert len(cases["each"]) > 10


def test_the_seconds_of_an_epoch_are_those_from_record_to_record(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what comes after its measures, such as the checkpoint."""
    common, speed = benchmark("gpu_common"), benchmark("gpu_speed")

    def trial(*_: object) -> Iterator[Record]:
        for epoch in (1, 2, 3):
            time.sleep(0.05)
            yield Record(epoch, 0.0, {"epoch_seconds": 0.001, "images_per_second": 7.0})
        yield Record(3, 0.0, {}, final=True)

    monkeypatch.setattr(speed, "epochs", trial)
    found = speed.timed(common.Setting("cpu", True, math.inf, None, 1, tmp_path), "stride", common.recipe("cpu"))
    assert len(found["epochs"]) == 3
    assert min(found["epochs"]) >= 0.05
    assert found["images_per_second"] == 7


WAITING = """
import sys, time
import gpu, gpu_workers

def waits(setting):
    pool = gpu_workers.workers(setting).pool
    return [str(pool.submit(time.sleep, 3600)) for _ in range(9)]

gpu.PARTS["speed"] = waits
sys.exit(gpu.main())
"""


def test_the_gpu_benchmark_ends_though_its_workers_have_more_to_do(tmp_path: Path) -> None:
    given = ["--out", str(tmp_path), "--device", "cpu", "--smoke", "--parts", "speed", "--workers", "1"]
    ended = subprocess.run(
        [sys.executable, "-c", WAITING, *given], cwd=FOLDER, capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 0, ended.stderr
    assert len(json.loads((tmp_path / "gpu.json").read_text())["speed"]["result"]) == 9


def test_the_verdict_leaves_out_what_was_not_measured_and_says_so(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def trial(seed: int) -> dict[str, Any]:
        measured = {"best": 0.8, "test/accuracy": 0.75, "seconds": 9.0, "epochs": [0.5, 0.86], "right": "f0"}
        return {"variant": "stride", "seed": seed, **measured}

    verdict, file = benchmark("gpu_verdict"), tmp_path / "shared.json"
    by_published_protocol = {key: value for key, value in trial(2).items() if key != "test/accuracy"}
    failed = {"recipe": "sgd", "variant": "stride", "failed": "no time left"}
    monkeypatch.setattr(sys, "argv", ["gpu_verdict.py", str(file)])
    file.write_text(json.dumps([trial(0), trial(1), failed, by_published_protocol]))
    assert verdict.main() == 0
    assert "left out: 2 of 4 trials" in capsys.readouterr().out
    file.write_text(json.dumps([failed]))
    assert verdict.main() == 1
    assert "left out: 1 of 1 trials" in capsys.readouterr().out


@pytest.mark.slow
def test_the_time_to_a_target_is_measured_again_in_the_same_folder(benchmark: Any, tmp_path: Path) -> None:
    from orchestrator.data import save_packed

    common, accuracy = benchmark("gpu_common"), benchmark("gpu_accuracy")
    save_packed(common.random_images(400, 60), tmp_path / "data.pt")
    (tmp_path / "chosen.json").write_text(json.dumps("sgd 0.4"))
    setting = common.Setting("cpu", True, math.inf, tmp_path / "data.pt", 1, tmp_path)
    for _ in range(2):
        assert ["test/accuracy" in found for found in accuracy.target(setting)] == [True, True]
