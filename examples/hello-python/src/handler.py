import sys


def handler(job):
    """Greets ``input.name``."""
    name = (job["input"] or {}).get("name", "world")
    return {"message": f"Hello, {name}!", "from": f"Python {sys.version.split()[0]}"}
