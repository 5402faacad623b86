"""The embedded chat model: a process shared by all that work on one data directory, spoken to over loopback."""

import asyncio
import fcntl
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import structlog

from app.domain.errors import UpstreamFailed, UpstreamTimeout
from app.domain.models import ChatMessage, GenerationOptions, ModelItem
from app.llm.base import TokenCounter
from app.llm.embedded_calls import BUILTIN, asked
from app.llm.embedded_server import KEY_VARIABLE, MODEL_NAME, OWNER_VARIABLE, SLOT_TOKENS, default_threads
from app.llm.openai_chat import OpenAIChatConfig, OpenAIChatModel
from app.net.http import HttpClient

log = structlog.get_logger()

_CHECK_S = 2.0
_POLL_S = 0.02


class _State(msgspec.Struct):
    pid: int
    url: str
    key: str


class EmbeddedServer:
    """Finds the model process of a data directory, or starts it.

    `<run_dir>/model.json` says where it is and `<run_dir>/model.lock` is held while one is started, so that there is
    never more than one. It dies with the process that started it; whoever needs it next starts another.
    """

    def __init__(
        self, run_dir: Path, http: HttpClient, *, threads: int | None = None, start_timeout_s: float = 60.0
    ) -> None:
        self._run_dir = run_dir
        self._state_file = run_dir / "model.json"
        self._http = http
        self._threads = threads or default_threads()
        self._start_timeout_s = start_timeout_s
        self._known: _State | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = anyio.Lock()

    async def ready(self) -> tuple[str, str]:
        """Return base URL and key of a model process that answers, starting one if there is none.

        Raises:
            UpstreamFailed: it could not be started.
        """
        if self._known is None:
            async with self._lock:
                if self._known is None:
                    self._known = await self._find_or_start()
        return f"{self._known.url}/v1", self._known.key

    def forget(self) -> None:
        """Look for the process anew at the next `ready`: the known one did not answer."""
        self._known = None

    async def aclose(self) -> None:
        """End the model process if this process started it."""
        self._known = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()  # SIGKILL: at once
            self._process = None
            self._state_file.unlink(missing_ok=True)

    async def _find_or_start(self) -> _State:
        self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (found := await self._find()) is not None:
            return found
        try:
            with anyio.fail_after(self._start_timeout_s):
                async with _locked(self._run_dir / "model.lock"):
                    return await self._find() or await self._start()
        except TimeoutError as error:
            raise UpstreamTimeout("The embedded chat model did not start in time.") from error

    async def _find(self) -> _State | None:
        """Return the state of a process that is alive and knows the key of the state file."""
        state = self._read()
        if state is None:
            return None
        until = asyncio.get_running_loop().time() + _CHECK_S
        try:
            answer, _ = await self._http.fetch(
                "GET", f"{state.url}/v1/models", until_s=until, headers={"authorization": f"Bearer {state.key}"}
            )
        except UpstreamFailed:
            return None
        return state if answer.status == 200 else None

    def _read(self) -> _State | None:
        try:
            return msgspec.json.decode(self._state_file.read_bytes(), type=_State)
        except (OSError, msgspec.DecodeError):
            return None

    async def _start(self) -> _State:
        process = self._spawn()
        state = self._read()
        while state is None or state.pid != process.pid:
            if process.poll() is not None:
                raise UpstreamFailed(f"The embedded chat model did not start; see {self._run_dir / 'model.log'}.")
            try:
                await anyio.sleep(_POLL_S)
            except BaseException:
                process.kill()  # nobody waits for it any more
                raise
            state = self._read()
        log.info("model_process_started", pid=process.pid, model=MODEL_NAME)
        return state

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start the process from this thread, the event loop's: it dies with the thread that started it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        keys = {KEY_VARIABLE: secrets.token_urlsafe(24), OWNER_VARIABLE: str(os.getpid())}
        command = [sys.executable, "-m", "app.llm.embedded_server", "--state", str(self._state_file.resolve())]
        descriptor = os.open(self._run_dir / "model.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [*command, "--threads", str(self._threads)],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=os.environ | {"PYTHONPATH": _import_path()} | keys,
                start_new_session=True,  # Ctrl-C is for the service, which then ends it
            )
        finally:
            os.close(descriptor)
        return self._process


class EmbeddedChatModel:
    """A `ChatModel` that runs here: `smollm2-135m-instruct@builtin`. Started at first use, or by `ready`."""

    def __init__(self, server: EmbeddedServer, http: HttpClient, counter: TokenCounter) -> None:
        self.name = MODEL_NAME
        self.provider = BUILTIN
        self.context_tokens: int | None = SLOT_TOKENS
        self._server = server
        self._http = http
        self._counter = counter

    async def ready(self) -> None:
        """Return when the model answers; see `EmbeddedServer.ready`."""
        await self._server.ready()

    async def aclose(self) -> None:
        """End the model process if this process started it."""
        await self._server.aclose()

    def stream(
        self, messages: Sequence[ChatMessage], options: GenerationOptions, *, deadline_s: float
    ) -> AsyncGenerator[Sequence[ModelItem], None]:
        """Stream one answer; see `ChatModel.stream`."""

        def ask(config: OpenAIChatConfig) -> AsyncGenerator[Sequence[ModelItem], None]:
            return OpenAIChatModel(config, self._http, self._counter).stream(messages, options, deadline_s=deadline_s)

        return asked(self._server, ask)


@asynccontextmanager
async def _locked(path: Path) -> AsyncGenerator[None, None]:
    """Hold the lock of a file that other processes take too."""
    descriptor: Any = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await anyio.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _import_path() -> str:
    """Return where `app` is found, for a process started from any folder."""
    root = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
