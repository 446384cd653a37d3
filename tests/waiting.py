"""A function that a worker process calls: it makes no progress at the lowest priority, as on a busy machine."""

import os
import time


def wait_for_normal_priority() -> int:
    """The scheduling policy of this thread, once it is no longer the one that waits for an idle core."""
    while (policy := os.sched_getscheduler(0)) == os.SCHED_IDLE:
        time.sleep(0.1)
    return policy
