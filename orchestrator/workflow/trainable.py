"""Whether trials can be trained as their recipes say, and notes about how: found by trying a step of each kind."""

from collections.abc import Callable, Iterator

from orchestrator.architectures.probe import Behaviour
from orchestrator.data import Dataset
from orchestrator.data.validation_split import fraction_problem
from orchestrator.spec import TrialSpec
from orchestrator.text import counted, listed
from orchestrator.training.try_step import Tried

Try = Callable[[int], Tried]  # a training step with so many images
OTHERS = (2, 16, 64, 128)  # images that are tried as well where the recipe's batch does not work, to know what helps
NAMED = 3  # parameters without a gradient


def batch_sizes(spec: TrialSpec, dataset: Dataset) -> tuple[int, ...]:
    """The different sizes of the batches of an epoch, in images, in their order; none if there is no batch."""
    learned, size = _learned(spec, dataset), spec.trainer.batch_size
    whole, rest = divmod(learned, size)
    return (size,) * bool(whole) + (rest,) * bool(rest and not spec.trainer.drop_last)


def training_problems(spec: TrialSpec, dataset: Dataset, take: Try) -> list[str]:
    """Why the trial cannot be trained with the splits and batches of its recipe; at most one line."""
    if _holds_out(spec, dataset) and (problem := fraction_problem(dataset.train.labels, spec.dataset.validation)):
        return [f"dataset.validation: {problem}"]
    sizes, learned, size = batch_sizes(spec, dataset), _learned(spec, dataset), spec.trainer.batch_size
    if not sizes:
        return [f"trainer.drop_last leaves nothing: {learned} training images are fewer than one batch of {size}"]
    failed = next((count for count in sizes if take(count).problem), None)
    if failed is None:
        return _auxiliary_problems(spec, take(sizes[0]))
    said = f"{spec.label}: a training step with {counted(failed, 'image')} fails: {take(failed).problem}"
    if failed != sizes[0]:
        return [
            f"trainer.batch_size: {said}; of {learned:,} training images the last batch of {size} holds {failed:,}: "
            "set trainer.drop_last: true, or another batch_size or dataset.validation"
        ]
    works = next((count for count in OTHERS if count <= learned and not take(count).problem), None)
    if works is None:
        return [said]
    return [f"trainer.batch_size: {said}; with {counted(works, 'image')} it works: set another batch_size"]


def _auxiliary_problems(spec: TrialSpec, tried: Tried) -> list[str]:
    weight = spec.trainer.auxiliary_weight
    if not weight or not tried.others:
        return []
    return [
        f"trainer.auxiliary_weight is {weight:g}, but {tried.others} of {tried.others + tried.auxiliary} auxiliary "
        f"outputs of {spec.label} are no logits of the shape of its main output: set it to 0, or return these only"
    ]


def training_notes(spec: TrialSpec, dataset: Dataset, take: Try, behaviour: Behaviour) -> Iterator[str]:
    """Messages about how a trial will be trained."""
    sizes, learned, size = batch_sizes(spec, dataset), _learned(spec, dataset), spec.trainer.batch_size
    if size > learned:
        yield (
            f"trainer.batch_size is {size:,}, and there are {learned:,} training images: an epoch is one step with all "
            f"of them, the whole training {counted(spec.trainer.epochs, 'step')}"
        )
    yield from _lonely_image(spec, sizes, learned, behaviour)
    tried = [take(count) for count in sizes]
    for count, step in zip(sizes, tried, strict=True):
        if step.untried:
            yield f"{spec.label}: a training step with {counted(count, 'image')} was not tried: {step.untried}"
    yield from _auxiliary_notes(spec, tried[0])
    if unused := tried[0].unused:
        yield (
            f"{spec.label}: in a training step that was tried, {counted(len(unused), 'parameter')} got no gradient "
            f"({listed(unused, NAMED)}): not trained, unless the network leaves them out at random"
        )


def _lonely_image(spec: TrialSpec, sizes: tuple[int, ...], learned: int, behaviour: Behaviour) -> Iterator[str]:
    """Batch normalisation over the positions of one image works, but seldom as it should."""
    if not behaviour.uses_batch_statistics or 1 not in sizes:
        return
    said = f"trainer.batch_size: {spec.label} normalises by the statistics of a batch"
    if sizes[0] == 1:
        yield f"{said}, which with 1 image are those of that image"
    else:
        yield (
            f"{said}, and of {learned:,} training images the last batch of {spec.trainer.batch_size} holds only one, "
            "which counts in the running statistics as much as a full one: better set trainer.drop_last"
        )


def _auxiliary_notes(spec: TrialSpec, tried: Tried) -> Iterator[str]:
    weight, logits, others = spec.trainer.auxiliary_weight, tried.auxiliary, tried.others
    if weight and logits:
        yield (
            f"{spec.label} returns {counted(logits, 'auxiliary output')}: the loss of each is added to that of its "
            f"main output, times trainer.auxiliary_weight ({weight:g})"
        )
    elif weight and not tried.untried:
        yield f"trainer.auxiliary_weight has no effect on {spec.label}: it returns no auxiliary outputs"
    elif logits or others:
        yield (
            f"{spec.label} returns {counted(logits + others, 'auxiliary output')} in training mode, which "
            f"{'is' if logits + others == 1 else 'are'} ignored: it learns from its main output"
            + (" (trainer.auxiliary_weight adds their loss)" if logits else "")
        )


def _learned(spec: TrialSpec, dataset: Dataset) -> int:
    """How many images the trial learns from."""
    return len(dataset.train) - (dataset.held_out(spec.dataset.validation) if _holds_out(spec, dataset) else 0)


def _holds_out(spec: TrialSpec, dataset: Dataset) -> bool:
    """Whether training images are held out for validation."""
    return spec.trainer.protocol != "published" and dataset.validation is None
