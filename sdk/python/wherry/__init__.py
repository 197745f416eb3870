"""Worker SDK of wherry: runs a handler function against the RunPod Serverless worker protocol.

``import wherry as runpod`` is enough to run a RunPod handler: ``runpod.serverless.start({"handler": handler})``.
"""

__version__ = "0.1.0"
__all__ = ["serverless"]


def __getattr__(name):
    # Loaded on first use, so that importing the package costs next to nothing.
    if name == "serverless":
        import importlib

        return importlib.import_module("wherry.serverless")
    raise AttributeError(f"module 'wherry' has no attribute '{name}'")
