"""The table of figures: to add one, write a function from material to a matplotlib figure and an entry here."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from orchestrator.reporting.activation import draw_activation
from orchestrator.reporting.calibration import draw_calibration
from orchestrator.reporting.classes import draw_class_accuracy, draw_class_distribution, draw_confusion
from orchestrator.reporting.curves import draw_curves
from orchestrator.reporting.material import Material
from orchestrator.reporting.network import draw_material_network
from orchestrator.reporting.pictures import draw_augmentation, draw_misclassified
from orchestrator.reporting.receptive_field import draw_receptive_field


@dataclass(frozen=True)
class Entry:
    """A figure that can be drawn if the material has everything in ``needs``."""

    title: str
    draw: Callable[[Material], Figure]
    needs: tuple[str, ...]
    caption: str
    shared: bool = False  # identical for all trials of a variant in one launch


FIGURES: dict[str, Entry] = {
    "curves": Entry(
        "Accuracy and loss", draw_curves, (),
        "Accuracy, loss and learning rate by epoch; the ring marks the epoch whose weights were kept. Training "
        "accuracy is measured on augmented images while the weights are changing.",
    ),
    "confusion_matrix": Entry(
        "Confusion matrix", draw_confusion, ("logits",),
        "Test images by true class (rows) and predicted class (columns); the colour is the share of the row.",
    ),
    "class_accuracy": Entry(
        "Accuracy of each class", draw_class_accuracy, ("logits",),
        "Test accuracy by class, lowest first from the bottom; black lines are 95 % Wilson score intervals, the "
        "dashed line is the accuracy over all images.",
    ),
    "misclassified": Entry(
        "Misclassified images", draw_misclassified, ("logits",),
        "The most confident errors: predicted class with its confidence, and true class.",
    ),
    "activation_maps": Entry(
        "Class-activation maps", draw_activation, ("logits", "network"),
        "Grad-CAM (Selvaraju et al., 2017) for the predicted class at the last map before global pooling: bright "
        "regions support the class. Each map is scaled to its own maximum.",
    ),
    "calibration": Entry(
        "Calibration", draw_calibration, ("logits",),
        "Accuracy against confidence in 15 bins of equal width, with the expected calibration error of Guo et al. "
        "(2017); below, the share of test images in each bin.",
    ),
    "network": Entry(
        "Network", draw_material_network, ("analysis",),
        "Blocks, branches and joins in the order in which they are computed; the shape after each block is "
        "channels × height × width.", shared=True,
    ),
    "receptive_field": Entry(
        "Receptive field", draw_receptive_field, ("analysis",),
        "The pixels on which one position of the last map before global pooling, and one output, depend, drawn around "
        "the centre of a test image. A dashed frame is larger than the image.", shared=True,
    ),
    "augmentation": Entry(
        "Augmentation", draw_augmentation, ("augmentation",),
        "The same training images without augmentation and as augmented in the first four epochs.",
    ),
    "class_distribution": Entry(
        "Data", draw_class_distribution, (),
        "Images of each class in every split, and mean and standard deviation of the training and validation images, "
        "as fractions of the full range, by colour channel.", shared=True,
    ),
}  # fmt: skip


def to_png(figure: Figure) -> bytes:
    """The figure as PNG, its size in inches times its resolution in pixels."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)  # savefig would draw it twice
    return content.getvalue()
