"""An OpenAI-compatible HTTP server on loopback that answers as the three agents would, and
misbehaves when told to.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROGRAM = '''"""Progress toward the exit."""
import numpy as np

MEMORY = {"closest": np.inf}


def reward(prev, action, curr, memory):
    before = np.minimum(memory["closest"], prev.exit - prev.cell)
    memory["closest"] = np.minimum(before, curr.exit - curr.cell)
    progress = 0.1 * (before - memory["closest"])
    return {"progress": progress, "step_cost": np.full(len(action), -0.005)}
'''
GOOD = {
    "designer": f"The corridor is long.\n\n```python\n{PROGRAM}```\n",
    "critic": '{"ok": true, "problems": [], "opinion": "sound"}',
    "drafter": '{"title": "An arm", "description": "An arm reaches for a ball.", "fields": '
    '[{"name": "x0", "rename": "elbow", "meaning": "the elbow", "unit": "rad", "range": [-9, 9]}]}',
    "analyzer": '{"causes": ["it hovers"], "suggestions": ["pay more"], "citations": '
    '[{"episode": 0, "step": 1, "field": "cell", "claim": "moves"}], "summary": "fine"}',
}
BAD_DRAFT = {
    "drafter": "it is an arm",
    "designer": "```python\nimport os\n```",
    "critic": "looks good to me",
    "analyzer": "it fails",
}


def agent_of(prompt: str) -> str:
    for agent, words in (
        ("critic", "You review reward programs"),
        ("analyzer", "You explain why"),
        ("designer", "You design reward functions"),
        ("drafter", "You write the text of a task card"),
    ):
        if words in prompt:
            return agent
    raise AssertionError(f"whose prompt is this? {prompt[:200]}")


class Server(ThreadingHTTPServer):
    """`fault(agent, number)` names what goes wrong with an agent's n-th request, from 0; None =
    nothing.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, fault: Callable[[str, int], str | None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fault, self.counts, self.requests, self.lock = (
            fault,
            dict.fromkeys(GOOD, 0),
            list[dict[str, Any]](),
            threading.Lock(),
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        # clients that go away are part of the play
        pass


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        agent = agent_of("\n".join(m["content"] for m in body["messages"]))
        with self.server.lock:
            number = self.server.counts[agent]
            self.server.counts[agent] += 1
            self.server.requests.append(
                {
                    "agent": agent,
                    "body": body,
                    "headers": {k.lower(): v for k, v in self.headers.items()},
                }
            )
        fault = self.server.fault(agent, number)
        getattr(self, f"fault_{fault}" if fault else "answer")(agent)

    def answer(self, agent: str, text: str | None = None, finish: str = "stop") -> None:
        message = {"role": "assistant", "content": GOOD[agent] if text is None else text}
        self.raw(200, json.dumps(self.envelope(message, finish)).encode())

    @staticmethod
    def envelope(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
        usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "test",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": usage,
        }

    def raw(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        kind: str = "application/json",
    ) -> None:
        self.send_response(status)
        for key, value in {
            "content-type": kind,
            "content-length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    # Faults whose reply must still be understood.

    def fault_prose(self, agent: str) -> None:
        self.answer(agent, f"Certainly! Let me think.\n\n{GOOD[agent]}\n\nI hope this helps!")

    def fault_thinking(self, agent: str) -> None:
        self.answer(agent, f"<think>{BAD_DRAFT[agent]}</think>\n{GOOD[agent]}")

    def fault_several_blocks(self, agent: str) -> None:
        if agent == "designer":
            self.answer(
                agent,
                f"A naive draft:\n```python\n{PROGRAM.replace('0.1', '9.9')}```\n"
                f"The final program:\n{GOOD[agent]}",
            )
        else:
            self.answer(
                agent,
                f'```json\n{{"example": 1}}\n```\nand the answer:\n```json\n{GOOD[agent]}\n```',
            )

    # Faults that one more try, or one more turn, mends.

    def fault_truncated(self, agent: str) -> None:
        self.answer(agent, GOOD[agent][: len(GOOD[agent]) // 2], "length")

    def fault_empty(self, agent: str) -> None:
        self.answer(agent, "")

    def fault_null(self, agent: str) -> None:
        self.raw(200, json.dumps(self.envelope({"role": "assistant", "content": None})).encode())

    def fault_no_choices(self, agent: str) -> None:
        self.raw(200, json.dumps({**self.envelope({}), "choices": []}).encode())

    def fault_429(self, agent: str) -> None:
        self.raw(
            429, b'{"error": {"message": "slow down", "type": "rate_limit"}}', {"retry-after": "0"}
        )

    def fault_500(self, agent: str) -> None:
        self.raw(500, b'{"error": {"message": "oops"}}')

    def fault_html(self, agent: str) -> None:
        self.raw(502, b"<html><body>Bad gateway</body></html>", kind="text/html")

    def fault_not_json(self, agent: str) -> None:
        self.raw(200, b'{"choices": [{"mess')

    def fault_bad_utf8(self, agent: str) -> None:
        self.raw(200, b'{"choices": [{"message": {"content": "\xff\xfe"}}]}')

    def fault_reset(self, agent: str) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def fault_cut_body(self, agent: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "100000")
        self.end_headers()
        self.wfile.write(b'{"id": "x", "choices"')
        self.close_connection = True

    def fault_drip(self, agent: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "100000")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.1)

    def fault_nonsense(self, agent: str) -> None:
        self.answer(agent, "Lorem ipsum.")

    # Faults that end the run.

    def fault_401(self, agent: str) -> None:
        self.raw(401, b'{"error": {"message": "bad key sk-SECRET"}}')

    def fault_404(self, agent: str) -> None:
        self.raw(404, b'{"error": {"message": "no such model"}}')

    def fault_400(self, agent: str) -> None:
        self.raw(400, b'{"error": {"message": "unsupported"}}')

    def fault_long_wait(self, agent: str) -> None:
        self.raw(429, b'{"error": {"message": "tomorrow"}}', {"retry-after": "86400"})


UNDERSTOOD = ("prose", "thinking", "several_blocks")
MENDED = ("truncated", "empty", "null", "nonsense")
RETRIED = ("no_choices", "429", "500", "html", "not_json", "bad_utf8", "reset", "cut_body", "drip")
FATAL = {"401": 3, "404": 4, "400": 4, "long_wait": 4}


@contextmanager
def serve(fault: Callable[[str, int], str | None] = lambda agent, number: None) -> Iterator[Server]:
    server = Server(fault)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
