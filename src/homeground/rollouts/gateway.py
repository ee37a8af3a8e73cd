"""The Agent Lightning gateway (agentlightning 1.0.2) as a child process.

The gateway stands between agents and our model server: agents call it as if it were OpenAI, it forwards to us and
records every call as an event of its rollout; rewards are events too. Its state is in memory only, and it lives and
dies with the run that started it.
"""

from __future__ import annotations

import re
import secrets

from homeground.rollouts.child import Child

_LISTENING = re.compile(r"Uvicorn running on (http://127\.0\.0\.1:\d+)")


class Gateway:
    """Starts ``agl-server`` on loopback with a random key; use it as a context manager.

    Args:
        model: the one model name that agents get, whatever they ask for.
        train_temperature: forced on calls of training rollouts.
        eval_temperature: forced on calls of evaluation rollouts; 0 is greedy.
        port: 0 is any free one, and after a restart another; name one where somebody forwards it elsewhere.
        program: the executable.

    Raises:
        HomegroundError: the executable is missing, or the process ends or stays silent instead of listening.
    """

    def __init__(
        self,
        *,
        model: str = "policy",
        train_temperature: float = 1.0,
        eval_temperature: float = 0.0,
        port: int = 0,
        program: str = "agl-server",
    ) -> None:
        self.key = secrets.token_urlsafe(24)
        config = {
            "host": "127.0.0.1",
            "port": port,
            "key": self.key,
            "default_proxy": {
                "model_name": model,
                "include_log_probs": True,
                "include_routed_experts": False,
                "train": {"temperature": train_temperature},
                "val": {"temperature": eval_temperature},
            },
        }
        self._child = Child("gateway", program, "server", config, ready=_LISTENING)
        self.url = ""

    def __enter__(self) -> Gateway:
        self.url = self._child.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process_id(self) -> int:
        """Of the running gateway."""
        return self._child.process_id

    def restart(self) -> None:
        """Stop what is left of it and start anew, with the same key; it has forgotten rollouts and model servers."""
        self._child.stop()
        self.url = self._child.start()

    def close(self) -> None:
        """Stop the process and remove its files; safe to call twice."""
        self._child.stop()

    def check(self) -> None:
        """Raise if the process has died.

        Raises:
            ServiceLostError: with its exit code and the last lines of its log.
        """
        self._child.check()
