"""A fork server: a Python that has imported what a handler imports, and forks the handler's workers out of itself.

The supervisor starts it (fork/process.ts) and talks with it in JSON lines over descriptor 3. It runs none of the project's own code.
A fork copies one thread and shares all that is open, so an import that leaves more behind than modules is told to the supervisor,
which begins anew without it (docs/adr/0019).
"""

import ast
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import types

from child import Mark, wait_for_order
from heads import Heads, stems_in
from watch import ANSWERED, Watch, count_threads

# What the SDK loads in a worker, sooner or later; a module that an older SDK has not got is left out.
SDK = ("wherry.serverless", "wherry.concurrent", "random", "signal", "threading", "urllib.parse")


class Control:
    """JSON lines to and from the supervisor."""

    def __init__(self, descriptor):
        self.socket = socket.socket(fileno=descriptor)
        self.rest = b""

    def tell(self, **message):
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def hear(self):
        """The messages that are there, at least one; ends the process when the supervisor is gone."""
        while True:
            part = self.socket.recv(65536)
            if not part:
                os._exit(0)
            *lines, self.rest = (self.rest + part).split(b"\n")
            if lines:
                return [json.loads(line) for line in lines]


def prepare(plan, control):
    """Imports; false when the supervisor was told that this process must not fork."""
    watch = Watch(plan["roots"], plan["own"])
    reason, culprit = watch.find(), None
    for name, statement in list_imports(plan):
        if reason is not None:
            break
        if name == ANSWERED or name in plan["except"]:
            continue
        control.tell(step=name)
        reason, culprit = load(statement, name) or watch.find(), name
    watch.end()
    if reason is None:
        culprit, reason = None, find_shadow(plan["roots"])
    if reason is not None:
        control.tell(refused=reason, name=culprit)
        return False
    gc.collect()
    # A collection in a worker would otherwise write to, and so copy, every page that holds objects.
    gc.freeze()
    control.tell(ready=len(sys.modules))
    return True


def list_imports(plan):
    """Package and tree of each import, the SDK's first."""
    with open(plan["handler"], "rb") as opened:
        source = opened.read()
    is_async = b"async " in source or b"concurrency_modifier" in source
    for name in (*SDK, *(("asyncio",) if is_async else ())):
        yield name.split(".")[0], ast.Import([ast.alias(name, None)])
    heads = Heads(plan["roots"])
    try:
        heads.read(plan["handler"])
    except (OSError, SyntaxError, ValueError):
        pass  # The worker says it in its own words.
    yield from heads.found.values()


def load(statement, name):
    """Runs an import; gives how it failed, or None. What is not here is not here for the worker either."""
    try:
        tree = ast.fix_missing_locations(ast.Module([statement], []))
        exec(compile(tree, "<imports>", "exec"), {"__name__": "__main__"})
    except ImportError as error:
        is_absent = (error.name or "").split(".")[0] == name
        return None if is_absent else f"fails: {error}"
    except BaseException as error:
        return f"fails: {type(error).__name__}: {error}"
    return None


def find_shadow(roots):
    """A module of the project that a worker would load where this process has another of that name."""
    for root in roots:
        for stem in stems_in(root):
            path = os.path.join(root, stem)
            is_module = not os.path.isdir(path) or os.path.isfile(os.path.join(path, "__init__.py"))
            if stem in sys.modules and is_module:
                return f"has loaded another '{stem}' than the project's"
    return None


def serve(control):
    """Forks when asked, and tells how forked processes end. Returns in each of them, with what was asked; never in the server."""
    reading, writing = os.pipe()
    for descriptor in (reading, writing):
        os.set_blocking(descriptor, False)
    before = signal.signal(signal.SIGCHLD, lambda *_: None), signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    poll = select.poll()
    for descriptor in (reading, control.socket.fileno()):
        poll.register(descriptor, select.POLLIN)
    children = set()
    while True:
        ready = [descriptor for descriptor, _ in poll.poll()]
        if reading in ready:
            os.read(reading, 4096)
            tell_exits(control, children)
        for message in control.hear() if control.socket.fileno() in ready else ():
            if "reap" in message:
                os.waitpid(message["reap"], 0)
                continue
            if count_threads() > 1:
                control.tell(refused="starts a thread", name=None)
                os._exit(0)
            try:
                pid = os.fork()
            except OSError as error:
                control.tell(failed=message["fork"]["id"], why=str(error))
                continue
            if pid == 0:
                signal.set_wakeup_fd(before[1])
                signal.signal(signal.SIGCHLD, before[0])
                for descriptor in (reading, writing):
                    os.close(descriptor)
                control.socket.close()
                return message["fork"]
            children.add(pid)
            control.tell(forked=message["fork"]["id"], pid=pid)


def tell_exits(control, children):
    """Each stays a zombie, and keeps its number, until the supervisor says that it is done with it."""
    for pid in list(children):
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            children.remove(pid)
            is_exit = ended.si_code == os.CLD_EXITED
            control.tell(ended=pid, code=ended.si_status if is_exit else None, signal=None if is_exit else ended.si_status)


def main():
    """True in a forked process, which is to be a worker; false in a server that must not fork."""
    # This program is none of the worker's business.
    del sys.path[0]
    for name in ("child", "heads", "watch"):
        del sys.modules[name]
    control = Control(3)
    plan = control.hear()[0]["plan"]
    directory = os.path.dirname(plan["handler"])
    sys.path.insert(0, directory)
    mark = Mark(plan["mark"])
    # Tries whether this system lets it.
    mark.write(mark.text)
    if not prepare(plan, control):
        return False
    sys.path.remove(directory)
    wait_for_order(serve(control), mark)
    return True


if main():
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        # What `python -m wherry` does.
        runpy._run_module_as_main("wherry")
    except Exception as error:
        # As Python tells it, without the frames of this program.
        told = error.with_traceback(error.__traceback__.tb_next)
        sys.excepthook(type(told), told, told.__traceback__)
        sys.exit(1)
