"""Checks that a worker runs before it takes work (worker-protocol: fitness checks)."""

import os
import sys


def run_checks(checks, ping):
    """Runs them in order; the first that fails is told to the server, and ends the process with code 1."""
    for check in checks:
        try:
            value = check()
            if hasattr(value, "__await__"):
                import asyncio

                asyncio.run(_await(value))
        except Exception as error:
            _fail(check, error, ping)


async def _await(value):
    return await value


def _fail(check, error, ping):
    from urllib.parse import quote

    name = getattr(check, "__name__", "check")
    reason = f"{type(error).__name__}: {error}"[:256]
    ping(f"&status=unhealthy&check={quote(name)}&reason={quote(reason)}&runpod_version=wherry-python")
    sys.stderr.write(f"fitness check {name} failed: {reason}\n")
    sys.stderr.flush()
    os._exit(1)
