"""Says which GPU the worker has, and works on the CPU when it has none."""

import ctypes

import runpod

NAME_BYTES = 100


def find_gpus():
    """The GPUs that the CUDA driver shows, and why there are none. Asks the driver itself, so it needs no framework."""
    try:
        # Not part of the image: the container runtime brings it when the container is started with a GPU.
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [], "there is no CUDA driver: the container was started without a GPU"
    code = driver.cuInit(0)
    if code != 0:
        return [], f"the CUDA driver does not start: error {code}"
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    gpus = [describe(driver, number) for number in range(count.value)]
    return gpus, None if gpus else "the CUDA driver shows no GPU"


def describe(driver, number):
    device = ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), number)
    name = ctypes.create_string_buffer(NAME_BYTES)
    driver.cuDeviceGetName(name, NAME_BYTES, device)
    memory = ctypes.c_size_t()
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return {"name": name.value.decode(), "memoryMiB": memory.value // 1024**2}


# Once a worker, not once a job.
GPUS, REASON = find_gpus()
DEVICE = "cuda" if GPUS else "cpu"


def handler(job):
    """The device, its GPUs, and why it is a CPU if it is one. With ``input.require_gpu`` a worker without a GPU fails the job."""
    if job["input"].get("require_gpu") and not GPUS:
        return {"error": REASON}
    return {"device": DEVICE, "gpus": GPUS, "reason": REASON}


if __name__ == "__main__":
    print(f"device {DEVICE}: {GPUS or REASON}")
    runpod.serverless.start({"handler": handler})
