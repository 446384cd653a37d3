"""The trainer: same seed same bits, exact resume, schedules and optimisers as torch's, failures named."""

import dataclasses
import json
import math
import re
import weakref
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from trained import weights

from orchestrator import records as keys
from orchestrator.data import Dataset, build_augmentation, measure
from orchestrator.errors import CheckpointError, DivergedError, ResourceError, StorageError
from orchestrator.records import Record, Status
from orchestrator.spec import Optimizer, Recipe, Schedule, TrialSpec
from orchestrator.training import checkpoint
from orchestrator.training.batches import Batches
from orchestrator.training.device import place
from orchestrator.training.learner import Learner
from orchestrator.training.loop import fit
from orchestrator.training.optimizers import build_optimizer
from orchestrator.training.prepare import replace_layers
from orchestrator.training.randomness import derive_seed
from orchestrator.training.schedule import LearningRate
from orchestrator.training.step import build_step, penalty
from orchestrator.trial import TrialFolder, run_trial, training_indices

AUGMENTATION = ({"HorizontalFlip": {"p": 0.5}}, {"ShiftScaleRotate": {"shift_limit": 0.1, "p": 0.5}})


def make_spec(network_file: Path, network: str = "Tiny", seed: int = 0, **recipe: object) -> TrialSpec:
    settings: dict = {"epochs": 4, "batch_size": 32, "augmentation": AUGMENTATION, **recipe}
    return TrialSpec(variant=f"{network_file}:{network}", seed=seed, trainer=Recipe(**settings))


def exact(records: list[Record]) -> list[tuple]:
    """What must not differ between two runs: everything but the clock."""
    return [(r.epoch, r.final, {k: v for k, v in r.metrics.items() if not keys.varies(k)}) for r in records]


def test_no_step_leaves_a_tensor_behind(dataset: Dataset) -> None:
    """However long an epoch is, it needs no more memory: what is kept of a step is written where there was room."""
    recipe = Recipe(epochs=1, batch_size=8, device="cpu")
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
    placement = place(recipe, network)
    split, indices = dataset.train, torch.arange(len(dataset.train))
    normalisation = measure(split.images)
    augmentation = build_augmentation((), seed=0, mean=normalisation.mean, shape=dataset.shape)
    batches = Batches(split, indices, recipe.batch_size, 0, augmentation, normalisation, placement)
    learner = Learner.build(network, recipe, placement, len(batches))
    real_step, returned, alive = build_step(learner, recipe), [], []

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, bool]:
        alive.append(sum(kept() is not None for kept in returned))
        result = real_step(images, labels)
        returned.append(weakref.ref(result[0]))
        return result

    [record] = fit(learner, step, batches, lambda _: {"loss": 1.0, "accuracy": 0.5}, recipe, seed=0)
    assert len(alive) == len(batches) > 10
    assert max(alive) <= 1  # the sums of the step before
    assert 0 <= record.metrics[keys.TRAIN_ACCURACY] <= 1


def test_it_learns_and_leaves_a_whole_folder(network_file: Path, dataset: Dataset, tmp_path: Path) -> None:
    spec = make_spec(network_file, epochs=12, optimizer=Optimizer(lr=0.3))
    records = list(run_trial(spec, dataset, tmp_path / "t"))
    folder = TrialFolder(tmp_path / "t")
    assert [r.epoch for r in records] == [*range(1, 13), 12]
    assert records[-1].final
    assert records[-1].metrics[keys.TEST_ACCURACY] > 0.9
    assert folder.records() == records
    assert folder.outcome().status is Status.COMPLETE
    assert folder.spec() == spec
    for name in ("metrics.csv", "facts.json", "checkpoints/last.pt", "checkpoints/best.pt", "predictions.pt"):
        assert (tmp_path / "t" / name).stat().st_size > 0
    logits = folder.predictions()
    accuracy = (logits.argmax(1) == dataset.test.labels).float().mean().item()
    assert accuracy == pytest.approx(records[-1].metrics[keys.TEST_ACCURACY])
    assert list(run_trial(spec, dataset, tmp_path / "t")) == []


def test_the_chosen_weights_are_those_of_the_best_validation_epoch(
    network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    records = list(run_trial(make_spec(network_file, epochs=6), dataset, tmp_path / "t"))
    scores = [(r.metrics[keys.VAL_ACCURACY], -r.metrics[keys.VAL_LOSS]) for r in records if not r.final]
    assert records[-1].metrics[keys.BEST_EPOCH] == 1 + scores.index(max(scores))


@pytest.mark.parametrize("optimizer", get_args(Optimizer.__annotations__["name"]))
@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "exponential", "step", "plateau", "constant"])
def test_interrupted_anywhere_it_ends_in_the_same_bits(
    optimizer: str, schedule: str, network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    spec = make_spec(
        network_file,
        optimizer=Optimizer(name=optimizer, lr=0.01),
        schedule=Schedule(name=schedule, cycle_momentum=True, patience=0, step_size=2),
    )
    whole = list(run_trial(spec, dataset, tmp_path / "whole"))
    pieces: list[Record] = []
    for _ in range(3):  # each process gets one epoch further and is then lost
        torch.manual_seed(99)
        running = run_trial(spec, dataset, tmp_path / "pieces")
        pieces.append(next(running))
        running.close()
    pieces += run_trial(spec, dataset, tmp_path / "pieces")
    assert exact(pieces) == exact(whole)
    assert exact(TrialFolder(tmp_path / "pieces").records()) == exact(whole)
    assert weights(tmp_path / "pieces") == weights(tmp_path / "whole")


def test_another_seed_gives_other_weights_and_another_split(
    network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    for seed in (0, 1):
        list(run_trial(make_spec(network_file, seed=seed), dataset, tmp_path / str(seed)))
    assert weights(tmp_path / "0") != weights(tmp_path / "1")
    splits = [training_indices(make_spec(network_file, seed=seed), dataset) for seed in (0, 1)]
    assert not torch.equal(*splits)


def test_a_record_lost_after_its_checkpoint_comes_back(network_file: Path, dataset: Dataset, tmp_path: Path) -> None:
    spec = make_spec(network_file)
    running = run_trial(spec, dataset, tmp_path / "t")
    first = next(running)
    running.close()
    log = tmp_path / "t" / "records.jsonl"
    log.write_text(log.read_text()[:-10])  # the line was cut off while it was written
    list(run_trial(spec, dataset, tmp_path / "t"))
    assert TrialFolder(tmp_path / "t").records()[0] == first


def test_the_published_protocol_reads_the_test_split_and_holds_nothing_out(
    network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    spec = make_spec(network_file, protocol="published")
    assert len(training_indices(spec, dataset)) == len(dataset.train)
    records = list(run_trial(spec, dataset, tmp_path / "t"))
    assert all(keys.VAL_ACCURACY not in r.metrics for r in records)
    by_epoch = [r.metrics[keys.TEST_ACCURACY] for r in records if not r.final]
    assert exact(records)[-1][-1] == {keys.BEST_EPOCH: 4, keys.PUBLISHED_BEST: max(by_epoch)}
    predicted = TrialFolder(tmp_path / "t").predictions().argmax(1)
    assert (predicted == dataset.test.labels).float().mean().item() == pytest.approx(by_epoch[-1])


def test_a_target_accuracy_ends_the_trial(network_file: Path, dataset: Dataset, tmp_path: Path) -> None:
    spec = make_spec(network_file, epochs=60, optimizer=Optimizer(lr=0.3), stop_at_accuracy=0.5)
    records = list(run_trial(spec, dataset, tmp_path / "t"))
    assert len(records) < 61
    assert records[-2].metrics[keys.VAL_ACCURACY] >= 0.5


def test_a_loss_that_is_not_finite_fails_and_names_epoch_and_step(
    network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    spec = make_spec(network_file, optimizer=Optimizer(lr=1e30, weight_decay=0.0), schedule=Schedule(name="constant"))
    with pytest.raises(DivergedError, match=r"epoch 1, step [234]"):
        list(run_trial(spec, dataset, tmp_path / "t"))
    outcome = TrialFolder(tmp_path / "t").outcome()
    assert outcome.status is Status.FAILED
    assert "epoch 1, step" in outcome.reason
    assert "DivergedError" in outcome.traceback


def test_a_network_that_fails_leaves_its_traceback(network_file: Path, dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="planted failure"):
        list(run_trial(make_spec(network_file, "Failing"), dataset, tmp_path / "t"))
    outcome = TrialFolder(tmp_path / "t").outcome()
    assert outcome.status is Status.FAILED
    assert re.fullmatch(r"Failing\.forward, .*networks\.py:\d+: RuntimeError: planted failure", outcome.reason)
    assert "networks.py" in outcome.traceback


def test_another_trials_folder_is_refused(network_file: Path, dataset: Dataset, tmp_path: Path) -> None:
    list(run_trial(make_spec(network_file), dataset, tmp_path / "t"))
    with pytest.raises(StorageError, match="holds another trial"):
        list(run_trial(make_spec(network_file, seed=1), dataset, tmp_path / "t"))
    (tmp_path / "u").mkdir()
    (tmp_path / "u" / "mine.txt").write_text("precious")
    with pytest.raises(StorageError, match="not empty"):
        list(run_trial(make_spec(network_file), dataset, tmp_path / "u"))


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "truncate":
        content = content[: len(content) // 2]
    elif how == "flip":
        middle = len(content) // 2
        content[middle : middle + 64] = bytes(255 - byte for byte in content[middle : middle + 64])
    elif how == "empty":
        content = bytearray()
    path.write_bytes(content)
    if how == "pickle":
        torch.save({"sha256": "", "network": nn.Linear(1, 1)}, path)


@pytest.mark.parametrize("how", ["truncate", "flip", "pickle", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    how: str, network_file: Path, dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = make_spec(network_file)
    whole = list(run_trial(spec, dataset, tmp_path / "whole"))
    running = run_trial(spec, dataset, tmp_path / "t")
    next(running), next(running)
    running.close()
    folder = TrialFolder(tmp_path / "t")
    damage(folder.last, how)
    rest = list(run_trial(spec, dataset, tmp_path / "t"))
    assert str(folder.last) in caplog.text
    assert exact(rest) == exact(whole)[1:]  # epoch 2 is done again
    assert exact(folder.records()) == exact(whole)
    assert weights(tmp_path / "t") == weights(tmp_path / "whole")


@pytest.mark.parametrize("name", ["checkpoints/last.pt", "checkpoints/best.pt", "predictions.pt"])
def test_a_complete_trial_of_which_something_is_damaged_is_completed_again(
    name: str, network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    spec = make_spec(network_file)
    whole = list(run_trial(spec, dataset, tmp_path / "t"))
    before = weights(tmp_path / "t")
    damage(tmp_path / "t" / name, "truncate")
    assert exact(list(run_trial(spec, dataset, tmp_path / "t"))) == exact(whole)[3 if name.endswith("last.pt") else 4 :]
    assert weights(tmp_path / "t") == before
    assert TrialFolder(tmp_path / "t").is_intact()
    assert list(run_trial(spec, dataset, tmp_path / "t")) == []


def test_chosen_weights_that_were_lost_come_back_with_the_checkpoint(
    network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    spec = make_spec(network_file, optimizer=Optimizer(lr=1e-9))
    for _ in range(2):  # the second process learns nothing that would be chosen
        running = run_trial(spec, dataset, tmp_path / "t")
        next(running)
        running.close()
        TrialFolder(tmp_path / "t").best.unlink(missing_ok=True)
    running = run_trial(spec, dataset, tmp_path / "t")
    next(running)
    assert TrialFolder(tmp_path / "t").is_intact()


def test_without_any_whole_checkpoint_the_trial_says_what_to_do(
    network_file: Path, dataset: Dataset, tmp_path: Path
) -> None:
    spec = make_spec(network_file)
    running = run_trial(spec, dataset, tmp_path / "t")
    next(running), next(running)
    running.close()
    folder = TrialFolder(tmp_path / "t")
    damage(folder.last, "flip"), damage(folder.previous, "truncate")
    with pytest.raises(CheckpointError, match=r"last\.pt.*begin anew"):
        list(run_trial(spec, dataset, tmp_path / "t"))


def test_a_checkpoint_keeps_every_bit_and_nothing_half_written(tmp_path: Path) -> None:
    content = {"a": torch.randn(3, 4).to(torch.bfloat16), "n": [1, 2.5, None, "x"], "m": {"t": torch.arange(5)}}
    checkpoint.save(tmp_path / "c.pt", content)
    back = checkpoint.load(tmp_path / "c.pt")
    assert checkpoint.content_digest(back) == checkpoint.content_digest(content)
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        checkpoint.save(tmp_path / "c.pt", {"f": lambda: None})
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]
    assert checkpoint.content_digest(checkpoint.load(tmp_path / "c.pt")) == checkpoint.content_digest(content)
    changed = {**content, "n": [1, 2.5, None, "y"]}
    assert checkpoint.content_digest(changed) != checkpoint.content_digest(content)


def learning_rates(schedule: Schedule, lr: float, epochs: int, batches: int) -> list[float]:
    optimizer = build_optimizer(Optimizer(lr=lr), [nn.Parameter(torch.zeros(1))])
    rate, seen = LearningRate(schedule, optimizer, epochs, batches), []
    for _ in range(epochs):
        for _ in range(batches):
            seen.append(rate.value)
            optimizer.step()
            rate.after_batch()
        rate.after_epoch(0.5)
    return seen


def test_onecycle_rises_to_its_peak_and_falls_in_exactly_the_training() -> None:
    seen = learning_rates(Schedule(name="onecycle", max_lr=0.4, warmup=0.25), 0.1, epochs=4, batches=10)
    assert max(seen) == pytest.approx(0.4, rel=1e-3)
    assert seen.index(max(seen)) == pytest.approx(0.25 * 40, abs=1.5)
    assert seen[0] == pytest.approx(0.4 / 25)
    assert seen[-1] == pytest.approx(0.4 / 25 / 10_000)


def test_the_other_schedules_follow_their_formulas() -> None:
    per_epoch = learning_rates(Schedule(name="exponential", gamma=0.982142857), 0.07, epochs=5, batches=3)[::3]
    assert per_epoch == pytest.approx([0.07 * 0.982142857**e for e in range(5)])
    steps = learning_rates(Schedule(name="step", step_size=2, gamma=0.5), 1.0, epochs=6, batches=1)
    assert steps == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25])
    cosine = learning_rates(Schedule(name="cosine"), 1.0, epochs=2, batches=5)
    assert cosine == pytest.approx([(1 + math.cos(math.pi * i / 10)) / 2 for i in range(10)])
    assert set(learning_rates(Schedule(name="constant"), 0.3, 3, 3)) == {0.3}
    plateau = learning_rates(Schedule(name="plateau", patience=1, gamma=0.1), 1.0, epochs=6, batches=1)
    assert plateau == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01])


def test_a_cycle_sized_in_batches_but_stepped_per_epoch_barely_moves() -> None:
    schedule = Schedule(name="onecycle", max_lr=0.05, interval="epoch", total_steps=39_100)
    seen = learning_rates(schedule, 0.05, epochs=100, batches=1)
    assert seen[-1] / seen[0] < 1.01


def test_a_cycle_that_is_over_keeps_its_last_rate() -> None:
    seen = learning_rates(Schedule(name="onecycle", total_steps=5), 0.1, epochs=2, batches=5)
    assert seen[4:] == [seen[4]] * 6


def test_penalties_are_sums_over_the_weights() -> None:
    parameters = [nn.Parameter(torch.tensor([1.0, -2.0])), nn.Parameter(torch.tensor([[3.0]]))]
    assert penalty(parameters, 0.1, 0.01).item() == pytest.approx(0.1 * 6 + 0.01 * 14)
    assert penalty(parameters, 0, 0) == 0


def test_one_step_is_torchs_own(network_file: Path, dataset: Dataset, tmp_path: Path) -> None:
    """One epoch of one batch, against the same step written out by hand."""
    spec = make_spec(
        network_file, epochs=1, batch_size=1000, augmentation=(), label_smoothing=0.1, gradient_clip=0.05, l2=0.01,
        precision="float32",
        optimizer=Optimizer(lr=0.1, weight_decay=0.001), schedule=Schedule(name="constant"),
    )  # fmt: skip
    record = next(run_trial(spec, dataset, tmp_path / "t"))
    from orchestrator.architectures import build_network
    from orchestrator.data.normalisation import apply, measure

    torch.manual_seed(derive_seed(0, "weights"))
    network = build_network(spec.variant, num_classes=3, shape=(3, 16, 16))
    indices = training_indices(spec, dataset)
    order = torch.randperm(len(indices), generator=torch.Generator().manual_seed(derive_seed(0, 1, "order")))
    images = apply(dataset.train.images[indices], measure(dataset.train.images[indices]))[order]
    replace_layers(network)  # dropout has torch's law, but other numbers; test_training_layers holds the law
    network.to(memory_format=torch.channels_last)
    torch.manual_seed(derive_seed(0, 1, "dropout"))
    logits = network(images.contiguous(memory_format=torch.channels_last))
    loss = F.cross_entropy(logits, dataset.train.labels[indices][order], label_smoothing=0.1)
    loss = loss + 0.01 * sum(p.square().sum() for p in network.parameters())
    assert record.metrics[keys.TRAIN_LOSS] == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 0.05)
    torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=0.001).step()
    learned = checkpoint.load(TrialFolder(tmp_path / "t").last)["network"]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(learned[name], value)


def test_requests_that_this_machine_cannot_meet_are_refused() -> None:
    network = nn.Conv2d(3, 3, 3)
    with pytest.raises(ResourceError, match="float16 needs a GPU"):
        place(Recipe(precision="float16", device="cpu"), network)
    if not torch.cuda.is_available():
        with pytest.raises(ResourceError, match=r"trainer\.device is cuda"):
            place(Recipe(device="cuda"), network)
    convolution, dense = place(Recipe(device="cpu"), network), place(Recipe(device="cpu"), nn.Linear(3, 3))
    assert (convolution.channels_last, dense.channels_last) == (True, False)


def test_seeds_do_not_collide() -> None:
    seeds = {derive_seed(s, e, p) for s in range(20) for e in range(50) for p in ("order", "dropout", "weights")}
    assert len(seeds) == 20 * 50 * 3


def test_records_survive_json() -> None:
    record = Record(3, 12.5, {"a": 1.0, "b": 1e300}, True)
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert dataclasses.is_dataclass(record)
