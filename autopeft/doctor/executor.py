"""Ray, which runs the trials."""

import os
from collections.abc import Mapping
from pathlib import Path

from autopeft.doctor.finding import Finding, note, ok, problem
from autopeft.errors import AutopeftError

_LEAST_SHARED_BYTES = 200 * 10**6
_VARIABLES = {
    "RAY_ADDRESS": "A search on this machine does not look at it; --ray-address joins a cluster.",
    "RAY_TMPDIR": "Ray's sessions go there, where other users of the machine may write: unset it if there are any.",
    "RAY_memory_monitor_refresh_ms": "At 0 Ray no longer ends a trial that takes too much memory: the system may end the search.",
}


def check_variables(environment: Mapping[str, str] | None = None) -> list[Finding]:
    """Variables that change what Ray does.

    Args:
        environment: By default that of this process.
    """
    variables = os.environ if environment is None else environment
    found = [
        note("ray", f"{name} is {variables[name]}", about)
        for name, about in _VARIABLES.items()
        if variables.get(name) and (not name.endswith("refresh_ms") or variables[name] == "0")
    ]
    if variables.get("RAY_AUTH_MODE", "token").lower() != "token":
        remedy = "Unset it: without a token everyone who reaches this machine's ports can run code as you."
        found.append(problem("ray", f"RAY_AUTH_MODE is {variables['RAY_AUTH_MODE']}", remedy))
    return found


def check_shared_memory(free_bytes: int | None = None) -> list[Finding]:
    """Room in /dev/shm, where workers get what all of them share.

    Args:
        free_bytes: By default measured.
    """
    shared = Path("/dev/shm")
    if free_bytes is None:
        if not shared.is_dir():
            return []
        found = os.statvfs(shared)
        free_bytes = found.f_bavail * found.f_frsize
    said = f"{free_bytes / 1e6:,.0f} MB free in {shared}"
    if free_bytes < _LEAST_SHARED_BYTES:
        remedy = "Make it larger (docker run --shm-size=2g, or mount -o remount,size=2g /dev/shm): Ray uses the disk instead, slowly."
        return [note("ray", said, remedy)]
    return [ok("ray", said)]


def check_start() -> list[Finding]:
    """Start Ray with one core, let it compute, and stop it; takes 10 to 20 seconds."""
    import ray

    from autopeft.run.tuner import start_ray

    remedy = "Run `ray stop` and try again; see the logs in the folder that Ray names, and whether a firewall closes local ports."
    try:
        start_ray(1, 0, None)
        answer = ray.get(ray.remote(num_cpus=1)(lambda: os.getpid()).remote(), timeout=60)
    except AutopeftError as error:
        return [problem("ray", error.message, remedy)]
    except Exception as error:  # whatever Ray raises: a doctor tells of it
        return [
            problem(
                "ray", f"Ray started, and no task ran: {str(error).strip().partition(chr(10))[0]}", remedy
            )
        ]
    finally:
        ray.shutdown()
    return [ok("ray", f"Ray {ray.__version__} started, ran a task in process {answer}, and stopped")]
