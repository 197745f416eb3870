"""What stands against forking a process, looked for after each import."""

import os
import sys

DEVICES = ("/dev/nvidia", "/dev/kfd")
OPENED = ("socket:", "pipe:", "anon_inode:")
# What only a worker can import: its SDK answers to the name.
ANSWERED = "runpod"


class Watch:
    """Sees what was left behind that a fork would not copy or would share, and what a worker would have done otherwise."""

    def __init__(self, roots, own):
        """`own`: names of variables that each worker has for itself, and of secrets."""
        self.roots = tuple(os.path.join(root, "") for root in roots)
        self.opened = set(_list_opened())
        self.plain = type(os.environ)
        self.read = set()
        self.is_asked = False
        watch = self

        class Watched(self.plain):
            def __getitem__(self, name):
                if name in own:
                    watch.read.add(name)
                return super().__getitem__(name)

        os.environ.__class__ = Watched
        sys.meta_path.append(self)

    def end(self):
        os.environ.__class__ = self.plain
        sys.meta_path.remove(self)

    def find_spec(self, name, path=None, target=None):
        """Asked by an import when nobody else knew the name."""
        self.is_asked = self.is_asked or name == ANSWERED

    def find(self):
        """What it is, in words that follow the name of a module; None when there is nothing."""
        if self.read:
            return f"reads {', '.join(sorted(self.read))}, which only workers have"
        if self.is_asked:
            return f"looks for '{ANSWERED}', which a worker has"
        if count_threads() > 1:
            return "starts a thread"
        if _has_children():
            return "starts a process"
        opened = [target for target in _list_opened() if target not in self.opened]
        if any(target.startswith(DEVICES) for target in opened) or _has_cuda():
            return "initialises a GPU"
        if any(target.startswith(OPENED) for target in opened):
            return "leaves a connection open"
        for name, module in list(sys.modules.items()):
            # Not by getattr: a module may load others when it is asked for what it has not got.
            file = getattr(module, "__dict__", {}).get("__file__")
            if isinstance(file, str) and file.startswith(self.roots):
                return f"loads '{name}' of the project"
        return None


def count_threads():
    """Of this process, Python's and others. A library may end its own before each fork, as OpenBLAS does: a fork tells."""
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        return threading.active_count()
    if len(os.listdir("/proc/self/task")) > 1:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    return len(os.listdir("/proc/self/task"))


def _has_children():
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    except ChildProcessError:
        return False


def _has_cuda():
    is_initialized = getattr(getattr(sys.modules.get("torch"), "cuda", None), "is_initialized", None)
    return bool(is_initialized and is_initialized())


def _list_opened():
    for name in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # That of the listing itself.
