"""What Ray keeps of a process's first session, read again for the next one."""

from typing import Any


def read_again(ray: Any) -> None:
    """Have Ray read the environment of this session: it keeps what this process's first one, here or on a cluster, had.

    That is whether a token is required, the token, and the choice between a machine's own address and loopback.
    """
    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
    constants = ray._private.ray_constants
    constants.ENABLE_RAY_CLUSTER = constants.env_bool(
        constants.ENABLE_RAY_CLUSTERS_ENV_VAR, not constants.IS_WINDOWS_OR_OSX
    )
