"""The runner `kubernetes`: each rollout is a Job of a cluster, started by Agent Lightning's job controller.

The gateway listens on this machine's loopback alone. Give it a fixed port, bring that port to where pods can reach it
(a tunnel, a reverse proxy), and name the address as ``agent_url``. What pods print stays in the cluster: a program
posts its reward to ``AGL_EVENT_URL``.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeground.base.errors import HomegroundError
from homeground.rollouts.controller import ControlledRunner
from homeground.rollouts.gateway import Gateway
from homeground.rollouts.program import FROM_INPUT, FROM_TRAINER, Program

KEPT_S = 600
_MARK = "@homeground:{}@"
_OF_THE_CONTROLLER = ("AGL_OPENAI_BASE_URL", "AGL_EVENT_URL", "AGL_KEY")
_OF_KUBECTL = ("HOME", "KUBECONFIG", "PATH", "SSL_CERT_FILE", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Job:
    """What a pod runs.

    Attributes:
        image: of its one container.
        command: its words; empty is the image's own.
        env: name -> value, as :class:`Program`'s.
        cpu, memory: both its request and its limit.
        namespace: of the jobs.
        pull_secrets: names of secrets for the image's registry.
    """

    image: str
    command: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cpu: str = "1"
    memory: str = "1Gi"
    namespace: str = "default"
    pull_secrets: Sequence[str] = ()


class KubernetesRunner(ControlledRunner):
    """See the module.

    Args:
        job: the agent.
        agent_url: where pods reach the gateway.
        size: jobs at a time.
        jobs_per_minute: started at most.

    Raises:
        HomegroundError: the controller cannot speak to a cluster.
    """

    def __init__(self, job: Job, agent_url: str, *, size: int = 50, jobs_per_minute: int = 100) -> None:
        super().__init__(size)
        if importlib.util.find_spec("kr8s") is None:
            raise HomegroundError(
                "the runner 'kubernetes' needs kr8s, which is not installed",
                hint="install agentlightning[controller]==1.0.2",
            )
        if not agent_url.startswith(("http://", "https://")):
            raise HomegroundError(
                "the runner 'kubernetes' needs the address at which pods reach the gateway",
                where=f"agent_url is {agent_url!r}",
                hint="start the gateway with a port, forward it, and give e.g. http://gateway.example:8080",
            )
        self._job = job
        self._agent_url = agent_url
        self._per_minute = jobs_per_minute
        # One map of the environment, read as programs' is.
        self._program = Program(["-"], env=job.env)

    def start(self, gateway: Gateway) -> None:
        """See :class:`Runner`."""
        self._program.passed()
        super().start(gateway)

    def config(self, rollout_id: str, task: Any) -> dict[str, Any]:
        """See :class:`Runner`."""
        self._program.mapped(task)
        return {"k8s": {"job_template": job_template(self._job, self._program.passed())}}

    def _settings(self) -> dict[str, Any]:
        runner = {
            "namespace": self._job.namespace,
            "ttl_after_finished": KEPT_S,
            "max_jobs_per_minute": self._per_minute,
            "poll_interval": 5,
        }
        return {"runner_type": "k8s", "k8s_runner": runner, "agl_server": {"agent_url": self._agent_url}}

    def _environment(self) -> Mapping[str, str]:
        return {name: os.environ[name] for name in _OF_KUBECTL if name in os.environ}

    def _left(self, rollout_id: str) -> tuple[str | None, str]:
        return None, ""


def job_template(job: Job, trainers: Mapping[str, str]) -> str:
    """The Job as the template that the controller fills in for each rollout.

    All that is known now is JSON, which the template language does not read; what a task says is put in as JSON
    strings, with the dollars that Kubernetes would read doubled.

    Args:
        job: see there.
        trainers: values of the variables that come from the trainer's environment.

    Returns:
        A Jinja2 template of one Kubernetes Job; the controller sets name, deadline and its own variables.
    """
    filled: dict[str, str] = {}

    def value(name: str, source: str) -> str:
        if source.startswith(FROM_TRAINER):
            return trainers[name].replace("$", "$$")
        if source != FROM_INPUT and not source.startswith(f"{FROM_INPUT}."):
            return source.replace("$", "$$")
        mark = _MARK.format(len(filled))
        filled[json.dumps(mark)] = _expression(source)
        return mark

    variables = [
        # The controller fills these where they stand, so that the ones below can name them.
        *({"name": name, "value": ""} for name in _OF_THE_CONTROLLER),
        {"name": "OPENAI_BASE_URL", "value": "$(AGL_OPENAI_BASE_URL)"},
        {"name": "OPENAI_API_KEY", "value": "$(AGL_KEY)"},
        {"name": "HOMEGROUND_TASK", "value": value("HOMEGROUND_TASK", FROM_INPUT)},
        *({"name": name, "value": value(name, source)} for name, source in job.env.items()),
    ]
    resources = {"cpu": job.cpu, "memory": job.memory}
    container = {
        "name": "agent",
        "image": job.image,
        **({"command": list(job.command)} if job.command else {}),
        "env": variables,
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "imagePullSecrets": [{"name": name} for name in job.pull_secrets],
        "containers": [container],
    }
    text = json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": {"template": {"spec": pod}}})
    if "{% endraw" in text or "{%- endraw" in text:
        raise HomegroundError("the job's settings contain '{% endraw'", hint="no variable or word may contain it")
    for mark, expression in filled.items():
        text = text.replace(mark, f"{{% endraw %}}{{{{ {expression} }}}}{{% raw %}}")
    return f"{{% raw %}}{text}{{% endraw %}}"


def _expression(path: str) -> str:
    """What a path into the task is in the template language."""
    parts = path.split(".")[1:]
    at = "".join(f"[{part}]" if part.isdigit() else f"[{json.dumps(part)}]" for part in parts)
    found = f"input{at}"
    text = f"({found} if {found} is string else {found} | tojson)" if parts else f"({found} | tojson)"
    return f'{text} | string | replace("$", "$$") | yaml_escape'
