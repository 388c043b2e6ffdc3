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
from autoreward.models import ModelOptions, Reply, Request, Transient

TRANSIENT_STATUS = {408, 409, 425, 429, 500, 502, 503, 504, 529}


def import_litellm() -> Any:
    """litellm, kept from the network, from `.env` files and from printing.

    Its import takes seconds.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


class Remote:
    """Any model that litellm knows, or one behind an OpenAI-compatible base URL."""

    language = True

    def __init__(self, name: str, options: ModelOptions) -> None:
        self.name, self.options = name, options
        self.own_price = options.price(name)
        self.litellm = import_litellm()
        self.route = (
            name if not options.base_url or self._known_provider(name) else f"openai/{name}"
        )
        self.key: str | None = None
        self._check()

    def _known_provider(self, name: str) -> bool:
        return (
            name.partition("/")[0]
            in {str(getattr(p, "value", p)) for p in self.litellm.provider_list}
            and "/" in name
        )

    def _check(self) -> None:
        """UserError for a name no provider has, and for a missing key, before anything is asked."""
        try:
            with contextlib.redirect_stdout(None):
                self.litellm.get_llm_provider(self.route)
        except Exception:
            raise UserError(
                f"--model {self.name}: litellm knows no provider of that name",
                "write PROVIDER/MODEL, e.g. openai/gpt-4o, ollama/qwen3; your own server: --base-url URL",
                MODEL,
            ) from None
        if self.options.key_command:
            done = subprocess.run(
                self.options.key_command, shell=True, capture_output=True, text=True
            )
            if done.returncode or not done.stdout.strip():
                raise UserError(
                    f"--key-command ended with exit code {done.returncode} and printed {'nothing' if not done.stdout.strip() else 'something'}",
                    "it must print the key",
                    MISSING,
                )
            self.key = done.stdout.strip()
            return
        if self.options.base_url and self.route.startswith("openai/"):
            self.key = os.environ.get("OPENAI_API_KEY") or "no-key"
            return
        # Another provider's server gets that provider's key, which litellm takes from the
        # environment; never OpenAI's.
        # Ollama has an address of its own
        served = self.options.base_url or self.route.startswith("ollama")
        named = self.litellm.validate_environment(self.route).get("missing_keys") or []
        missing = [
            k for k in named if not os.environ.get(k) and not (served and k.endswith("_API_BASE"))
        ]
        if missing:
            raise UserError(
                f"--model {self.name} needs {' and '.join(missing)} in the environment",
                f"export {missing[0]}=..., or --key-command 'COMMAND THAT PRINTS IT'",
                MISSING,
            )

    @functools.lru_cache(maxsize=16)  # noqa: B019  (one model a process; a prompt is counted for the limits, and again for the window)
    def tokens(self, text: str) -> int:
        try:
            return int(self.litellm.token_counter(model=self.route, text=text))
        except Exception:
            # a model unknown to the tokenizers
            return len(text) // 3

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        if self.own_price:
            return (
                prompt_tokens * self.own_price.input + completion_tokens * self.own_price.output
            ) / 1e6
        if self.options.base_url:
            # a gateway's price is not the provider's
            return None
        try:
            a, b = self.litellm.cost_per_token(
                model=self.route, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens
            )
            return float(a + b)
        except Exception:
            # unknown to the price map
            return None

    def window(self) -> int | None:
        """Input tokens the model takes, where known."""
        if self.options.num_ctx:
            return self.options.num_ctx
        if self.own_price and self.own_price.window:
            return self.own_price.window
        try:
            return int(self.litellm.get_model_info(self.route).get("max_input_tokens") or 0) or None
        except Exception:
            # unknown to the model map
            return None

    def ask(self, request: Request) -> Reply:
        window, size = self.window(), self.tokens(request.text)
        if window is not None and size > window:
            hint = "--set num_ctx=N (ollama), or shorter templates: autoreward prompts eject"
            raise ModelFailed(
                f"the prompt has {size} tokens, {self.name} takes {window}; it would be cut", hint
            )
        arguments: dict[str, Any] = {
            "model": self.route,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "max_tokens": request.max_tokens,
            "timeout": min(120.0, self.options.timeout),
            "max_retries": 0,
            "num_retries": 0,
            "drop_params": True,
        }
        if request.temperature is not None:
            arguments["temperature"] = request.temperature
        if request.schema is not None and self.litellm.supports_response_schema(model=self.route):
            arguments["response_format"] = request.schema
        for key, value in (
            ("api_base", self.options.base_url),
            ("api_key", self.key),
            ("extra_headers", self.options.headers or None),
            ("num_ctx", self.options.num_ctx),
        ):
            if value is not None:
                arguments[key] = value
        began = time.monotonic()
        answer = self._within_deadline(arguments)
        return self._reply(answer, time.monotonic() - began)

    def _within_deadline(self, arguments: dict[str, Any]) -> Any:
        """litellm's timeout is per read, so a slow drip would go on for ever: a deadline of our
        own.
        """
        box: dict[str, Any] = {}

        def call() -> None:
            try:
                box["answer"] = self.litellm.completion(**arguments)
            except BaseException as error:
                box["error"] = error

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(self.options.timeout)
        if thread.is_alive():
            raise Transient(f"no whole answer within {self.options.timeout:g} s")
        if "error" in box:
            raise self._judged(box["error"])
        return box["answer"]

    def _judged(self, error: BaseException) -> BaseException:
        """Transient, ModelFailed or UserError for whatever litellm raised."""
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            return error
        status = getattr(error, "status_code", None)
        kind = type(error).__name__
        text = " ".join(str(error).split())[:300]
        if self.key and self.key != "no-key":
            text = text.replace(self.key, "[key]")
        if kind in ("AuthenticationError", "PermissionDeniedError") or status in (401, 403):
            return UserError(
                f"{self.name}: the key was refused: {text}",
                "is it the right key for this provider?",
                MISSING,
            )
        if kind == "NotFoundError" or status == 404:
            return UserError(
                f"--model {self.name}: not found there: {text}", "is the model's name right?", MODEL
            )
        if kind == "ContextWindowExceededError":
            return ModelFailed(
                f"{self.name}: the prompt is longer than the model's window: {text}",
                "shorter templates: autoreward prompts eject",
            )
        if (
            kind
            in (
                "RateLimitError",
                "Timeout",
                "APIConnectionError",
                "InternalServerError",
                "ServiceUnavailableError",
            )
            or status in TRANSIENT_STATUS
        ):
            return Transient(f"{kind}: {text}", _retry_after(error))
        if kind in (
            "BadRequestError",
            "UnsupportedParamsError",
            "ContentPolicyViolationError",
            "UnprocessableEntityError",
        ) or (status and 400 <= status < 500):
            return ModelFailed(f"{self.name} refuses the request: {text}")
        # Replies that are no answer at all (HTML, cut JSON, nonsense numbers) come as bare Python
        # errors: a gateway's hiccup.
        return Transient(f"{kind}: {text}")

    def _reply(self, answer: Any, latency: float) -> Reply:
        try:
            choice = answer.choices[0]
            text = choice.message.content or ""
            finish = str(choice.finish_reason or "stop")
            used = answer.usage
            asked, answered = (
                int(getattr(used, "prompt_tokens", 0) or 0),
                int(getattr(used, "completion_tokens", 0) or 0),
            )
        except (AttributeError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise Transient(
                f"the server's answer has no reply in it ({type(error).__name__})"
            ) from None
        if not (0 <= asked < 10**9 and 0 <= answered < 10**9):
            asked, answered = self.tokens(text), self.tokens(text)
        cost = (
            self.price(asked, answered)
            if self.own_price or self.options.base_url
            else (getattr(answer, "_hidden_params", {}) or {}).get("response_cost")
        )
        return Reply(
            str(text),
            self.name,
            asked,
            answered,
            None if cost is None else float(cost),
            latency,
            finish,
        )


def _retry_after(error: BaseException) -> float | None:
    response = getattr(error, "response", None)
    value = getattr(response, "headers", {}).get("retry-after") if response is not None else None
    try:
        return max(0.0, float(value)) if value is not None else None
    except (TypeError, ValueError):
        return None
