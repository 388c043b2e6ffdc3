"""The recipes of docs/models.md: what is sent where, and with which key.

Each runs against a server on loopback that speaks its protocol.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from autoreward.models import Message, ModelOptions, Request, connect

REQUEST = Request("designer", 1, "a", 0, (Message("system", "be brief"), Message("user", "hello")))
USED = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


class Handler(BaseHTTPRequestHandler):
    """OpenAI's chat completions (also vLLM's, llama.cpp's, a gateway's), Azure's deployments,
    Ollama's own API.
    """

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.path, headers, body))
        if self.path == "/api/show":
            self.say({"model_info": {}, "template": "", "capabilities": ["completion"]})
        elif self.path == "/api/generate":
            self.say(
                {
                    "model": "q",
                    "response": "well",
                    "done": True,
                    "prompt_eval_count": 7,
                    "eval_count": 3,
                }
            )
        elif self.path == "/api/chat":
            self.say(
                {
                    "model": "q",
                    "message": {"role": "assistant", "content": "well"},
                    "done": True,
                    "done_reason": "stop",
                    "prompt_eval_count": 7,
                    "eval_count": 3,
                }
            )
        else:
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": "well"},
                "finish_reason": "stop",
            }
            self.say(
                {
                    "id": "x",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "m",
                    "choices": [choice],
                    "usage": USED,
                }
            )

    def say(self, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.seen = []
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name in ("AZURE_API_KEY", "AZURE_API_VERSION", "OLLAMA_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")


def asked(
    server: ThreadingHTTPServer, name: str, path: str = "", **options: Any
) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The one request that a question came to."""
    model = connect(
        name, ModelOptions(base_url=f"http://127.0.0.1:{server.server_port}{path}", **options)
    )
    reply = model.ask(REQUEST)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens, reply.finish) == (
        "well",
        7,
        3,
        "stop",
    )
    (found,) = [s for s in server.seen if s[0] != "/api/show"]
    return found


def test_a_gateway_gets_its_headers_and_the_key_of_the_command(server):
    path, headers, body = asked(
        server,
        "team/some-model",
        "/v1",
        headers={"X-Team": "robots"},
        key_command="echo sk-of-the-gateway",
    )
    assert path == "/v1/chat/completions" and body["model"] == "team/some-model"
    assert headers["authorization"] == "Bearer sk-of-the-gateway" and headers["x-team"] == "robots"


@pytest.mark.parametrize("name", ["qwen3", "Qwen/Qwen3-32B"])
def test_vllm_and_llama_cpp_are_openai_compatible_servers(server, name):
    path, _, body = asked(server, name, "/v1")
    assert path == "/v1/chat/completions" and body["model"] == name


@pytest.mark.parametrize(
    ("name", "place"), [("ollama/qwen3", "/api/generate"), ("ollama_chat/qwen3", "/api/chat")]
)
def test_ollama_gets_the_window_and_nobodys_key(server, name, place):
    path, headers, body = asked(server, name, num_ctx=16384)
    assert path == place and body["options"]["num_ctx"] == 16384 and body["model"] == "qwen3"
    assert "sk-of-openai" not in json.dumps(headers)


def test_ollama_needs_no_variable():
    assert connect("ollama/qwen3", ModelOptions(num_ctx=8192)).window() == 8192


def test_azure_deployments_take_azures_key_and_version(server, monkeypatch):
    monkeypatch.setenv("AZURE_API_KEY", "key-of-azure")
    monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")
    path, headers, _ = asked(server, "azure/my-deployment")
    assert path == "/openai/deployments/my-deployment/chat/completions?api-version=2024-10-21"
    assert headers["api-key"] == "key-of-azure" and "sk-of-openai" not in json.dumps(headers)


def test_azure_without_its_key_says_which():
    with pytest.raises(Exception, match="AZURE_API_KEY"):
        connect("azure/my-deployment", ModelOptions(base_url="http://127.0.0.1:9"))
