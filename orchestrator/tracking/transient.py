"""Which failures are temporary, so that a retry helps: a store that is unreachable, busy or full."""

import errno
import http
import sys
from collections.abc import Iterator

FULL_OR_UNREACHABLE = {errno.ENOSPC, errno.EDQUOT, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH}
BUSY = {http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_EARLY, http.HTTPStatus.TOO_MANY_REQUESTS}
BUSY_CODES = {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException"}  # S3 answers the first with 400
# Lost connections, in the clients' own words. A client that is not loaded has raised nothing.
LOST = {
    "botocore.exceptions": ("ConnectionError", "HTTPClientError", "IncompleteReadError"),
    "requests.exceptions": ("ConnectionError", "Timeout", "ChunkedEncodingError"),
    "urllib3.exceptions": ("HTTPError",),
    "google.auth.exceptions": ("TransportError",),
    "google.api_core.exceptions": ("RetryError",),
}


def is_transient(problem: BaseException) -> bool:
    """Whether a retry may help, rather than the store having rejected the request (access denied, no bucket).

    A client may wrap the original error: the first of the chain that is recognised decides. Anything else is final: an
    error in one trial's files must not delay every other trial.
    """
    for link in _chain(problem):
        if (status := _http_status(link)) is not None:
            return status in BUSY or (status >= 500 and status != http.HTTPStatus.NOT_IMPLEMENTED)
        if isinstance(link, (ConnectionError, TimeoutError, *_lost())):
            return True
        if isinstance(link, OSError) and link.errno in FULL_OR_UNREACHABLE:
            return True
    return False


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    met: set[int] = set()
    while problem is not None and id(problem) not in met:
        yield problem
        met.add(id(problem))
        problem = problem.__cause__ or problem.__context__


def _lost() -> Iterator[type[BaseException]]:
    for module, names in LOST.items():
        if module in sys.modules:
            for name in names:
                yield getattr(sys.modules[module], name)


def _http_status(problem: BaseException) -> int | None:
    """The HTTP status of the answer behind ``problem``, where its client keeps it; None if there was no answer."""
    if hasattr(problem, "get_http_status_code"):  # MLflow
        return int(problem.get_http_status_code())
    response = getattr(problem, "response", None)
    if isinstance(response, dict):  # botocore
        if response.get("Error", {}).get("Code") in BUSY_CODES:
            return int(http.HTTPStatus.TOO_MANY_REQUESTS)
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:  # requests; google and urllib
        status = getattr(response, "status_code", None) or getattr(problem, "code", None)
    return int(status) if isinstance(status, int) else None
