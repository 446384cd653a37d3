"""Images of one channel: from every source, through normalisation, augmentation, training, figures and the model."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator import records as keys
from orchestrator.cli.main import main
from orchestrator.data import (
    Augmentation,
    Dataset,
    build_augmentation,
    check_transforms,
    load_dataset,
    measure,
    save_packed,
)
from orchestrator.data.arrays import from_arrays, to_arrays
from orchestrator.data.channels import to_channels
from orchestrator.data.images import ImageDecoder
from orchestrator.data.normalisation import apply, from_sums, pixel_sums
from orchestrator.spec import DatasetSpec, Recipe, TrialSpec
from orchestrator.tracking.models import save_model
from orchestrator.trial import TrialFolder, run_trial

GREY_NETWORK = """
from torch import nn

class Grey(nn.Sequential):
    def __init__(self, num_classes):
        convolution = nn.Conv2d(1, 4, 3, padding=1)
        super().__init__(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, num_classes))
"""


def drawn(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def grey() -> Dataset:
    return load_dataset(DatasetSpec(channels=1, image_size=8), Path("nowhere"))


def test_colour_becomes_grey_as_pillow_has_it():
    images = drawn(50, 3, 16, 16)
    ours = to_channels(images, 1)
    theirs = [np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")) for image in images]
    assert torch.equal(ours[:, 0], torch.from_numpy(np.stack(theirs)))
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_channels(to_channels(every, 3), 1), every)
    assert to_channels(images, 3) is images


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
def test_encoded_images_are_decoded_to_one_channel(mode):
    image = Image.fromarray(drawn(9, 7, 3).numpy()).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    decoded = ImageDecoder(None, 1).decode([("x", buffer.getvalue())])
    assert torch.equal(decoded[0, 0], torch.from_numpy(np.array(image.convert("RGB").convert("L"))))


def test_the_digits_have_one_channel_if_asked(grey, tmp_path):
    usual = load_dataset(DatasetSpec(image_size=8), Path("nowhere"))
    assert grey.shape == (1, 8, 8)
    assert torch.equal(grey.train.images.repeat(1, 3, 1, 1), usual.train.images)
    assert load_dataset(DatasetSpec(image_size=8, channels=3), Path("nowhere")).digest == usual.digest != grey.digest
    save_packed(grey, tmp_path / "grey.pt")
    packed = DatasetSpec(name=str(tmp_path / "grey.pt"))
    assert load_dataset(packed, tmp_path).digest == grey.digest  # what a packed file holds
    three = load_dataset(DatasetSpec(name=packed.name, channels=3), tmp_path)
    assert three.digest == usual.digest
    again = from_arrays(to_arrays(grey))
    assert again.digest == grey.digest
    assert again.sums is not None
    assert from_sums(again.sums, 64) == measure(grey.train.images)


def test_one_channel_is_normalised_by_its_own_figures(grey):
    images = grey.train.images
    normalisation = measure(images)
    assert (len(normalisation.mean), len(normalisation.std)) == (1, 1)
    assert pixel_sums(images).shape == (len(images), 2, 1)
    normalised = apply(images, normalisation)
    assert normalised.shape == images.shape
    assert abs(float(normalised.mean())) < 1e-5
    assert abs(float(normalised.std(correction=0)) - 1) < 1e-5


PIPELINES = [
    [{"HorizontalFlip": {"p": 1.0}}],
    [{"ShiftScaleRotate": {"border_mode": "constant", "fill": "mean", "p": 1.0}}],
    [{"Affine": {"translate_px": [-2, 2], "border_mode": "constant", "fill": 77, "p": 1.0}}],
    [{"CoarseDropout": {"fill": "mean", "p": 1.0}}],
    [
        {"PadIfNeeded": {"min_height": 16, "min_width": 16, "border_mode": "constant", "fill": "mean"}},
        {"RandomCrop": {"height": 12, "width": 12}},
    ],
]


def augmented(transforms: list, channels: int, engine: str) -> tuple[Augmentation, torch.Tensor]:
    mean, shape = (0.3,) * channels, (channels, 12, 12)
    assert check_transforms(transforms, shape) == []
    augmentation = build_augmentation(transforms, seed=0, mean=mean, shape=shape, engine=engine)  # type: ignore[arg-type]
    images = drawn(20, 1, 12, 12).repeat(1, channels, 1, 1)
    return augmentation, augmentation(images, torch.arange(20), 1)


@pytest.mark.parametrize("engine", ["compiled", "albumentations"])
@pytest.mark.parametrize("transforms", PIPELINES, ids=lambda written: next(iter(written[0])))
def test_one_channel_is_augmented_like_each_of_three_equal_ones(transforms, engine):
    one, three = augmented(transforms, 1, engine)[1], augmented(transforms, 3, engine)[1]
    assert one.shape == (20, 1, 12, 12)
    assert torch.equal(one.repeat(1, 3, 1, 1), three)


def test_transforms_of_the_library_keep_one_channel():
    for transforms in ([{"GaussianBlur": {"p": 1.0}}], [{"OneOf": {"transforms": [{"CLAHE": {}}, {"Blur": {}}]}}]):
        assert augmented(transforms, 1, "auto")[1].shape == (20, 1, 12, 12)


def test_a_colour_is_refused_for_images_of_one_channel():
    colour = {"CoarseDropout": {"fill": [1, 2, 3]}}
    assert check_transforms([colour], (3, 12, 12)) == []
    for transforms in ([colour], [{"OneOf": {"transforms": [colour]}}]):
        problems = check_transforms(transforms, (1, 12, 12))
        assert [
            p.endswith("images of one channel have no colours; give mean or a number, not [1, 2, 3]") for p in problems
        ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial of a network made for one channel, with its report."""
    root = tmp_path_factory.mktemp("grey")
    (root / "grey.py").write_text(GREY_NETWORK)
    asked = ["train", f"{root / 'grey.py'}:Grey", "--epochs", "1", "--threads", "1", "--out", str(root / "trial")]
    asked += ["--set", "dataset.channels=1", "--set", "dataset.image_size=8", "--quiet"]
    asked += ["--set", "trainer.augmentation=[{CoarseDropout: {fill: mean}}]"]
    with pytest.raises(SystemExit) as ended:
        main(asked)
    assert ended.value.code == 0
    return root / "trial"


def test_a_network_for_one_channel_is_trained_and_reported(trained):
    facts = TrialFolder(trained).facts()
    assert facts["shape"] == [1, 8, 8]
    assert len(facts["normalisation"]["mean"]) == 1
    for name in ("activation_maps", "augmentation", "misclassified", "class_distribution"):
        figure = np.asarray(Image.open(trained / "figures" / f"{name}.png").convert("RGB")).astype(int)
        assert figure.shape[0] > 150
        assert (figure.max(axis=2) < 64).sum() > 500  # what is drawn, not a line that says why nothing is


def test_its_model_takes_images_of_one_channel(trained, grey, tmp_path):
    import mlflow.pyfunc

    files = TrialFolder(trained)
    network = files.network(10, (1, 8, 8))
    normalisation = measure(grey.train.images)
    save_model(network, normalisation, grey.classes, grey.test.images[:4], tmp_path / "model")
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert [tensor.shape for tensor in model.metadata.signature.inputs.inputs] == [(-1, 1, 8, 8)]
    with torch.no_grad():
        expected = network.eval()(apply(grey.test.images[:7], normalisation))
    torch.testing.assert_close(torch.as_tensor(model.predict(grey.test.images[:7].numpy())), expected)


def test_a_built_in_variant_takes_one_channel(grey, tmp_path):
    small = load_dataset(DatasetSpec(channels=1, image_size=32), Path("nowhere"))
    few = Dataset("few", small.train.subset(torch.arange(64)), small.test.subset(torch.arange(32)), small.classes)
    spec = TrialSpec(variant="stride", dataset=DatasetSpec(channels=1), trainer=Recipe(epochs=1, batch_size=16))
    records = list(run_trial(spec, few, tmp_path / "t"))
    assert keys.TEST_ACCURACY in records[-1].metrics
