"""The figures of a report. To add one, write a function from a context to a matplotlib figure, and an entry here."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from orchestrator.reporting.activation import draw_activation
from orchestrator.reporting.calibration import draw_calibration
from orchestrator.reporting.classes import draw_class_accuracy, draw_class_distribution, draw_confusion
from orchestrator.reporting.context import ReportContext
from orchestrator.reporting.curves import draw_curves
from orchestrator.reporting.html import FigureImage
from orchestrator.reporting.images import draw_augmentation, draw_misclassified
from orchestrator.reporting.metrics import draw_metrics
from orchestrator.reporting.names import class_numbers, numbers_note
from orchestrator.reporting.network import draw_trial_network
from orchestrator.reporting.receptive_field import draw_receptive_field


@dataclass(frozen=True)
class FigureEntry:
    """A figure that can be drawn if the context has everything in ``needs``."""

    title: str
    draw: Callable[[ReportContext], Figure]
    needs: tuple[str, ...]
    caption: str
    shared: bool = False  # the same for all trials of a variant in one launch
    classes: bool = False  # it names classes

    def make(self, name: str, context: ReportContext) -> FigureImage:
        """The figure as PNG, for the file ``name``."""
        note = numbers_note(class_numbers(context.classes), "classes") if self.classes else ""
        return FigureImage(name, self.title, f"{self.caption} {note}".rstrip(), to_png(self.draw(context)))


FIGURES: dict[str, FigureEntry] = {
    "curves": FigureEntry(
        "Accuracy and loss", draw_curves, (),
        "Accuracy, loss and learning rate by epoch; the ring marks the epoch whose weights were kept. Training "
        "accuracy is measured on augmented images while the weights are changing.",
    ),
    "metrics": FigureEntry(
        "Other metrics", draw_metrics, (),
        "Every other metric of the records by epoch, such as top-5 accuracy, speed and the use of the machine.",
    ),
    "confusion_matrix": FigureEntry(
        "Confusion matrix", draw_confusion, ("logits",),
        "Test images by true class (rows) and predicted class (columns); the colour is the share of the row.",
        classes=True,
    ),
    "class_accuracy": FigureEntry(
        "Accuracy of each class", draw_class_accuracy, ("logits",),
        "Test accuracy by class, lowest first from the bottom; black lines are 95 % Wilson score intervals, the "
        "dashed line is the accuracy over all images.", classes=True,
    ),
    "misclassified": FigureEntry(
        "Misclassified images", draw_misclassified, ("logits",),
        "The most confident errors: predicted class with its confidence, and true class.", classes=True,
    ),
    "activation_maps": FigureEntry(
        "Class-activation maps", draw_activation, ("logits", "network"),
        "Grad-CAM (Selvaraju et al., 2017) for the predicted class at the last map before global pooling: bright "
        "regions support the class. Each map is scaled to its own maximum.", classes=True,
    ),
    "calibration": FigureEntry(
        "Calibration", draw_calibration, ("logits",),
        "Accuracy against confidence in 15 bins of equal width, with the expected calibration error of Guo et al. "
        "(2017); below, the share of test images in each bin.",
    ),
    "network": FigureEntry(
        "Network", draw_trial_network, ("analysis",),
        "Blocks, branches and joins in the order in which they are computed; the shape after each block is "
        "channels × height × width. Inside a block each line follows the one above it unless a hairline is between "
        "them; other branches leave at a dot and arrive at an arrow. A frame is computed as often as it says.",
        shared=True,
    ),
    "receptive_field": FigureEntry(
        "Receptive field", draw_receptive_field, ("analysis",),
        "The pixels on which one position of the last map before global pooling, and one output, depend, drawn around "
        "the centre of a test image. A dashed frame is larger than the image.", shared=True,
    ),
    "augmentation": FigureEntry(
        "Augmentation", draw_augmentation, ("augmentation",),
        "The same training images without augmentation and as augmented in the first four epochs.",
    ),
    "class_distribution": FigureEntry(
        "Data", draw_class_distribution, (),
        "Images of each class in every split, and mean and standard deviation of the training and validation images, "
        "as fractions of the full range, by colour channel.", shared=True, classes=True,
    ),
}  # fmt: skip


def to_png(figure: Figure) -> bytes:
    """The figure as PNG, its size in inches times its resolution in pixels."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)  # savefig would draw it twice
    return content.getvalue()
