"""The list of checks: the name of each, as reports show it, and its function."""

from functools import partial

from orchestrator import loopback, text
from orchestrator.checks import check, driver, listening, machine, storage, versions
from orchestrator.checks.check import DriverCheck, MachineCheck

# Run on this machine, and on every node of a cluster.
ON_MACHINE: dict[str, MachineCheck] = {
    "Python": partial(versions.same_version, "Python"),
    "Ray": partial(versions.same_version, "Ray"),
    "torch": partial(versions.same_version, "torch"),
    "orchestrator": partial(versions.same_version, "orchestrator"),
    "networks": versions.same_networks,
    "GPU": machine.gpu,
    "disk": machine.disk,
    "temporary disk": machine.temporary_disk,
    "shared memory": machine.shared_memory,
    "open files": machine.open_files,
    "token file": machine.token_file,
    "listening": listening.listening,
}
# Run by the driver, which asks the nodes where one is about them.
BY_DRIVER: dict[str, DriverCheck] = {
    "Ray's folder": driver.ray_folder,
    "tracking": driver.tracking,
    "data": driver.data,
    "token": driver.token,
    "clock": driver.clock,
    "storage": storage.storage,
}
ALL = (*ON_MACHINE, *BY_DRIVER)
BEFORE_LAUNCH = ("Python", "Ray", "torch", "orchestrator", "networks", "storage")

# Modules whose functions run on nodes. Ray sends them by value: a node may have another version of this package, or
# none. So what runs there imports other modules of this package inside functions only, and returns plain values.
SENT = (check, driver, listening, loopback, machine, storage, text, versions)
