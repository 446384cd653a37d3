"""What a Ray session must not take over from where it starts: settings of an earlier one, and files of the folder."""

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


def job_config(ray: Any) -> Any:
    """For a Ray of our own: its workers do not put the current folder first among the places of modules.

    Networks that lie there are found all the same, by the function that loads them.
    """
    return ray.job_config.JobConfig(_client_job=True)  # Ray adds the folder to all others
