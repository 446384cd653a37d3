"""Processes that train the trials of the GPU benchmark side by side, under MPS where it can be had."""

import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from gpu_common import NO_TIME, Setting, served

from orchestrator.data import Dataset, load_dataset
from orchestrator.records import BEST_EPOCH, TEST_ACCURACY, TRAIN_ACCURACY, VAL_ACCURACY
from orchestrator.spec import DatasetSpec, TrialSpec
from orchestrator.trial import TrialFolder, run_trial


@cache
def data(path: Path) -> Dataset:
    """The dataset, once a process."""
    return load_dataset(DatasetSpec(name=str(path)), Path())


def train(trial: TrialSpec, path: Path, folder: Path, measure: bool) -> dict[str, Any]:
    """One trial in its folder, as figures; of a measured one which test images are right, as bits."""
    started = time.perf_counter()
    records = list(run_trial(trial, data(path), folder, measure=measure))
    every = [record.metrics for record in records if not record.final]
    last = records[-1].metrics
    kept: dict[str, Any] = {key: last[key] for key in (BEST_EPOCH, TEST_ACCURACY) if key in last}
    curve = TEST_ACCURACY if trial.trainer.protocol == "published" else VAL_ACCURACY
    by_epoch = [round(metrics[curve], 4) for metrics in every]
    if measure:
        logits = TrialFolder(folder).predictions()
        assert logits is not None
        right = logits.argmax(1) == data(path).test.labels
        kept["right"] = np.packbits(right.numpy()).tobytes().hex()
    return {
        "variant": trial.variant,
        "seed": trial.seed,
        "seconds": round(time.perf_counter() - started, 2),
        **kept,
        "best": max(by_epoch),
        "last": by_epoch[-1],
        "train": round(every[-1][TRAIN_ACCURACY], 4),
        "epochs": by_epoch,
    }


class Workers:
    """Processes that train one trial after the other, under MPS where it can be had; they serve all parts."""

    def __init__(self, setting: Setting) -> None:
        self.stack = ExitStack()
        environment = self.stack.enter_context(served(setting))
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(setting.workers, mp_context=context, initializer=begin, initargs=(environment,))

    def close(self) -> None:
        """End them, whatever they are at."""
        for process in list((self.pool._processes or {}).values()):
            process.kill()
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.stack.close()


_begun: list[Workers] = []


@cache
def workers(setting: Setting) -> Workers:
    """Those of this run, which :func:`end_workers` ends."""
    _begun.append(Workers(setting))
    return _begun[-1]


def end_workers() -> None:
    """To be called before Python ends: it would first wait until all that was submitted is done."""
    while _begun:
        _begun.pop().close()
    workers.cache_clear()


def begin(environment: dict[str, str]) -> None:
    """In each process before CUDA starts there."""
    os.environ.update(environment)


def train_all(
    setting: Setting, trials: Iterable[tuple[str, TrialSpec]], part: str, measure: bool, seconds: float = math.inf
) -> list[dict[str, Any]]:
    """Side by side, in the order given; after ``seconds`` none begins, and at the deadline none goes on."""
    assert setting.data is not None
    home, ends = Path(tempfile.mkdtemp(prefix=f"{part}-")), time.monotonic() + seconds
    found: list[dict[str, Any]] = []
    jobs: dict[Future[dict[str, Any]], tuple[str, TrialSpec, Path]] = {}
    for name, trial in trials:
        job = workers(setting).pool.submit(train, trial, setting.data, home / str(len(jobs)), measure)
        jobs[job] = (name, trial, home / str(len(jobs)))
    waiting = set(jobs)
    while waiting and setting.left() > 0:
        done, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
        for job in done:
            name, trial, folder = jobs[job]
            try:
                found.append({"recipe": name, "folder": str(folder), **job.result()})
            except Exception as problem:  # one trial must not end the others
                found.append({"recipe": name, "variant": trial.variant, "failed": repr(problem)[:300]})
        if done:
            setting.note(part, found)
        if time.monotonic() > ends:
            waiting = {job for job in waiting if not job.cancel()}
    cut = [jobs[job] for job in waiting]
    return found + [{"recipe": name, "variant": trial.variant, "failed": NO_TIME} for name, trial, _ in cut]
