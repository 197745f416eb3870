"""A forked process on its way to be a worker, as one that was spawned would be."""

import json
import os
import socket
import sys

CANNOT_START = 126


class Mark:
    """The place in this process's memory that /proc shows as one of its variables: by it the processes of a worker are found."""

    def __init__(self, name):
        with open("/proc/self/stat", "rb") as opened:
            fields = opened.read().rsplit(b")", 1)[1].split()
        with open("/proc/self/environ", "rb") as opened:
            shown = opened.read()
        at = (b"\0" + shown).index(b"\0" + name.encode() + b"=")
        self.address = int(fields[47]) + at
        self.text = shown[at : shown.index(b"\0", at)]

    def write(self, text):
        if len(text) > len(self.text):
            raise ValueError(f"{text} is too long")
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(self.address)
            memory.write(text.ljust(len(self.text), b"\0"))


def wait_for_order(fork, mark):
    """Session and groups of its own, then the wait for the worker that it shall be."""
    try:
        os.setsid()
        for file in fork["groups"]:
            with open(file, "w") as group:
                group.write(str(os.getpid()))
        out, err = (_connect(fork["socket"], fork[name]) for name in ("out", "err"))
        order = _read_order(out)
        mark.write(order["mark"].encode())
        os.environ.clear()
        os.environ.update(order["env"])
        os.chdir(order["cwd"])
        for number, stream in ((1, out), (2, err)):
            os.dup2(stream.fileno(), number)
            stream.close()
    except BaseException as error:
        os.write(2, f"a forked process could not start: {error!r}\n".encode())
        os._exit(CANNOT_START)
    _renew(order)


def _connect(path, token):
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(path)
    stream.sendall(token.encode() + b"\n")
    return stream


def _read_order(stream):
    line = b""
    while not line.endswith(b"\n"):
        part = stream.recv(65536)
        if not part:
            # No longer needed, or the supervisor is gone.
            os._exit(0)
        line += part
    return json.loads(line)


def _renew(order):
    """What a Python that just began would have for itself; `random` draws anew by itself after a fork."""
    # With `-m`, the directory it is run in comes first.
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, order["cwd"])
    sys.argv = ["-m", *order["args"]]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = [*order["command"], "-m", "wherry", *order["args"]]
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if "ssl" in sys.modules:
        sys.modules["ssl"].RAND_add(os.urandom(32), 32.0)
    if "tempfile" in sys.modules:
        sys.modules["tempfile"].tempdir = None
    if "multiprocessing.process" in sys.modules:
        sys.modules["multiprocessing.process"].current_process().authkey = os.urandom(32)
