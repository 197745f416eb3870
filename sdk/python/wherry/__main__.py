"""The entry of images: ``python3 -m wherry /path/handler.py:function``. A file that only defines its function needs no SDK call."""

import os
import sys

from wherry import serverless


class StandIn:
    """Gives this SDK to ``import runpod`` where RunPod's own package is not installed: asked only when nobody else knew the name."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "runpod":
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, StandIn, is_package=True)

    @staticmethod
    def create_module(spec):
        import wherry

        return wherry

    @staticmethod
    def exec_module(module):
        pass


def main():
    if len(sys.argv) < 2 or ":" not in sys.argv[1]:
        sys.exit("usage: python3 -m wherry /path/to/handler.py:function")
    sys.meta_path.append(StandIn)
    path, name = sys.argv[1].rsplit(":", 1)
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    # As if the file were the program, which it is in RunPod's images: its `if __name__ == "__main__"` may call start with more
    # settings, and multiprocessing finds its functions again.
    module = type(sys)("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    exec(code, module.__dict__)
    handler = getattr(module, name, None)
    if not callable(handler):
        sys.exit(f"{path} has no function '{name}'")
    serverless.start({"handler": handler})


main()
