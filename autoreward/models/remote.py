"""Hosted models and local servers through litellm, imported on first use.

Retries and limits are the Caller's, not litellm's.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import threading
import time
from typing import Any

from autoreward.errors import MISSING, MODEL, ModelFailed, UserError
from autoreward.models.model import ModelOptions, Reply, Request, Transient

TRANSIENT_STATUS = {408, 409, 425, 429, 500, 502, 503, 504, 529}
# litellm's exceptions, by class name.
TRANSIENT_ERRORS = {
    "RateLimitError",
    "Timeout",
    "APIConnectionError",
    "InternalServerError",
    "ServiceUnavailableError",
}
BAD_REQUEST_ERRORS = {
    "BadRequestError",
    "UnsupportedParamsError",
    "ContentPolicyViolationError",
    "UnprocessableEntityError",
}
# What litellm is given for a server that needs no key.
NO_KEY = "no-key"
# Seconds that litellm may wait for one read.
LONGEST_READ = 120.0
# Token counts above this are a server's nonsense.
MOST_TOKENS = 10**9
SHORTER = "shorter templates: autoreward prompts eject"


def import_litellm() -> Any:
    """Import litellm and keep it from the network, from `.env` files and from printing.

    The import takes seconds.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


class Remote:
    """Any model that litellm knows, or one behind an OpenAI-compatible base URL.

    Raises UserError, before anything is asked, if no provider has that name, a key is missing, or
    the price table cannot be read.
    """

    language = True

    def __init__(self, name: str, options: ModelOptions) -> None:
        self.name = name
        self.options = options
        self.own_price = options.price(name)
        self.litellm = import_litellm()
        own_server = options.base_url and not self._known_provider(name)
        self.route = f"openai/{name}" if own_server else name
        self.key: str | None = None
        self._require_provider()
        self._find_key()

    def _known_provider(self, name: str) -> bool:
        provider, slash, _ = name.partition("/")
        known = {str(getattr(p, "value", p)) for p in self.litellm.provider_list}
        return bool(slash) and provider in known

    def _require_provider(self) -> None:
        try:
            with contextlib.redirect_stdout(None):
                self.litellm.get_llm_provider(self.route)
        except Exception:
            raise UserError(
                f"--model {self.name}: litellm knows no provider of that name",
                "write PROVIDER/MODEL, e.g. openai/gpt-4o, ollama/qwen3; "
                "your own server: --base-url URL",
                MODEL,
            ) from None

    def _find_key(self) -> None:
        if self.options.key_command:
            self.key = _key_from(self.options.key_command)
            return
        if self.options.base_url and self.route.startswith("openai/"):
            self.key = os.environ.get("OPENAI_API_KEY") or NO_KEY
            return
        # Another provider's server gets that provider's key, which litellm takes from the
        # environment; never OpenAI's. Ollama has a default address.
        has_address = bool(self.options.base_url) or self.route.startswith("ollama")
        missing = []
        for name in self.litellm.validate_environment(self.route).get("missing_keys") or []:
            address_is_known = has_address and name.endswith("_API_BASE")
            if not os.environ.get(name) and not address_is_known:
                missing.append(name)
        if missing:
            raise UserError(
                f"--model {self.name} needs {' and '.join(missing)} in the environment",
                f"export {missing[0]}=..., or --key-command 'COMMAND THAT PRINTS IT'",
                MISSING,
            )

    # A prompt is counted twice: for the limits, and for the window. There is one model a process.
    @functools.lru_cache(maxsize=16)  # noqa: B019
    def tokens(self, text: str) -> int:
        try:
            return int(self.litellm.token_counter(model=self.route, text=text))
        except Exception:
            # The tokenizers do not know the model.
            return len(text) // 3

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        if self.own_price:
            read = prompt_tokens * self.own_price.input
            written = completion_tokens * self.own_price.output
            return (read + written) / 1e6
        if self.options.base_url:
            # A gateway's price is not the provider's.
            return None
        try:
            read, written = self.litellm.cost_per_token(
                model=self.route, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens
            )
            return float(read + written)
        except Exception:
            # litellm's price map does not know the model.
            return None

    def window(self) -> int | None:
        """Return the prompt tokens that the model accepts, None if unknown."""
        if self.options.num_ctx:
            return self.options.num_ctx
        if self.own_price and self.own_price.window:
            return self.own_price.window
        try:
            return int(self.litellm.get_model_info(self.route).get("max_input_tokens") or 0) or None
        except Exception:
            # litellm's model map does not know the model.
            return None

    def ask(self, request: Request) -> Reply:
        window = self.window()
        size = self.tokens(request.text)
        if window is not None and size > window:
            raise ModelFailed(
                f"the prompt has {size} tokens, but {self.name} accepts {window}; "
                "it would be cut off",
                f"--set num_ctx=N (ollama), or {SHORTER}",
            )
        began = time.monotonic()
        answer = self._within_deadline(self._arguments(request))
        return self._reply(answer, time.monotonic() - began)

    def _arguments(self, request: Request) -> dict[str, Any]:
        """Return the arguments of litellm's `completion`."""
        arguments: dict[str, Any] = {
            "model": self.route,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "max_tokens": request.max_tokens,
            "timeout": min(LONGEST_READ, self.options.timeout),
            "max_retries": 0,
            "num_retries": 0,
            "drop_params": True,
        }
        schema = request.schema
        if schema is not None and self.litellm.supports_response_schema(model=self.route):
            arguments["response_format"] = schema
        optional = {
            "temperature": request.temperature,
            "api_base": self.options.base_url,
            "api_key": self.key,
            "extra_headers": self.options.headers or None,
            "num_ctx": self.options.num_ctx,
        }
        for name, value in optional.items():
            if value is not None:
                arguments[name] = value
        return arguments

    def _within_deadline(self, arguments: dict[str, Any]) -> Any:
        """Return litellm's answer, or raise Transient after `timeout` seconds.

        litellm's own timeout is for one read, so a server that sends a byte now and then would hold
        the run for ever.
        """
        answers: list[Any] = []
        errors: list[BaseException] = []

        def call() -> None:
            try:
                answers.append(self.litellm.completion(**arguments))
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(self.options.timeout)
        if thread.is_alive():
            raise Transient(f"no complete answer within {self.options.timeout:g} s")
        if errors:
            raise self._translated(errors[0])
        return answers[0]

    def _translated(self, error: BaseException) -> BaseException:
        """Return the Transient, ModelFailed or UserError for what litellm raised."""
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            return error
        status = getattr(error, "status_code", None)
        kind = type(error).__name__
        text = " ".join(str(error).split())[:300]
        if self.key and self.key != NO_KEY:
            text = text.replace(self.key, "[key]")
        if kind in ("AuthenticationError", "PermissionDeniedError") or status in (401, 403):
            return UserError(
                f"{self.name}: the key was rejected: {text}",
                "is it the right key for this provider?",
                MISSING,
            )
        if kind == "NotFoundError" or status == 404:
            return UserError(
                f"--model {self.name}: not found on the server: {text}",
                "is the model's name right?",
                MODEL,
            )
        if kind == "ContextWindowExceededError":
            return ModelFailed(
                f"{self.name}: the prompt is longer than the model's window: {text}", SHORTER
            )
        if kind in TRANSIENT_ERRORS or status in TRANSIENT_STATUS:
            return Transient(f"{kind}: {text}", _retry_after(error))
        if kind in BAD_REQUEST_ERRORS or (status and 400 <= status < 500):
            return ModelFailed(f"{self.name} rejects the request: {text}")
        # An answer that is no reply at all (HTML, cut JSON, nonsense numbers) arrives as a bare
        # Python error: a gateway's hiccup.
        return Transient(f"{kind}: {text}")

    def _reply(self, answer: Any, latency: float) -> Reply:
        try:
            choice = answer.choices[0]
            text = choice.message.content or ""
            finish = str(choice.finish_reason or "stop")
            prompt_tokens = int(getattr(answer.usage, "prompt_tokens", 0) or 0)
            completion_tokens = int(getattr(answer.usage, "completion_tokens", 0) or 0)
        except (AttributeError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise Transient(
                f"the server's response contains no reply ({type(error).__name__})"
            ) from None
        if not (0 <= prompt_tokens < MOST_TOKENS and 0 <= completion_tokens < MOST_TOKENS):
            prompt_tokens = self.tokens(text)
            completion_tokens = self.tokens(text)
        if self.own_price or self.options.base_url:
            cost = self.price(prompt_tokens, completion_tokens)
        else:
            cost = (getattr(answer, "_hidden_params", {}) or {}).get("response_cost")
        return Reply(
            str(text),
            self.name,
            prompt_tokens,
            completion_tokens,
            None if cost is None else float(cost),
            latency,
            finish,
        )


def _key_from(command: str) -> str:
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    key = done.stdout.strip()
    if done.returncode or not key:
        raise UserError(
            f"--key-command ended with exit code {done.returncode} and printed "
            f"{'something' if key else 'nothing'}",
            "it must print the key",
            MISSING,
        )
    return key


def _retry_after(error: BaseException) -> float | None:
    """Return the seconds that the server asks to wait, None if it does not say."""
    response = getattr(error, "response", None)
    if response is None:
        return None
    value = getattr(response, "headers", {}).get("retry-after")
    try:
        return max(0.0, float(value)) if value is not None else None
    except (TypeError, ValueError):
        return None
