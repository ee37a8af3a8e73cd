"""The manifest of a rollout's Job, rendered by Agent Lightning's own controller and checked against Kubernetes."""

import json

import kubernetes_validate
import pytest
from agentlightning.controller.k8s_reconciler import build_job_spec
from agentlightning.schemas import Rollout
from omegaconf import OmegaConf

from homeground.base.errors import HomegroundError
from homeground.rollouts import Gateway, Job, KubernetesRunner

TASK = {"question": 'say "{{ 7 * 7 }}" & $(AGL_KEY)\n- x: {% raw %}', "rows": [{"id": 1}, {"id": 2}]}


def manifest(runner, task, *, train=True):
    """What the controller would send to the cluster for a rollout of this task."""
    settings = runner._settings()
    settings["agl_server"] = {"url": "http://127.0.0.1:1", "key": "the-key", **settings["agl_server"]}
    rollout = Rollout.model_validate(
        {
            "rollout_id": "3-1-0-abcd",
            "input": task,
            "is_train": train,
            "config": {"timeout_seconds": 90, **runner.config("3-1-0-abcd", task)},
            "status": {"created_at": 0, "updated_at": 0},
        }
    )
    return build_job_spec(rollout, OmegaConf.create(settings))


def expanded(container):
    """The environment as a container gets it: Kubernetes replaces $(NAME) of earlier ones, and $$ by $."""
    found = {}
    for entry in container["env"]:
        value = entry["value"].replace("$$", "\0")
        for name, known in found.items():
            value = value.replace(f"$({name})", known)
        found[entry["name"]] = value.replace("\0", "$")
    return found


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.setenv("REGION_OF_TRAINER", "no$(AGL_KEY)rth")
    env = {
        "QUESTION": "input.question",
        "ROW": "input.rows.1",
        "REGION": "env.REGION_OF_TRAINER",
        "MODE": "{{ x }} $(AGL_KEY)",
    }
    job = Job("registry.example/agent:1", ["python", "agent.py"], env, memory="512Mi", pull_secrets=["registry"])
    return KubernetesRunner(job, "http://gateway.example:8080")


@pytest.mark.parametrize("task", [TASK, {"question": "plain", "rows": [0, "text"]}])
def test_the_manifest_is_one_that_kubernetes_takes(runner, task):
    made = manifest(runner, task)
    kubernetes_validate.validate(made, "1.33", strict=True)
    assert made["spec"]["activeDeadlineSeconds"] == 90
    assert made["spec"]["backoffLimit"] == 0
    pod = made["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "1", "memory": "512Mi"}


@pytest.mark.parametrize(("train", "mode"), [(True, "train"), (False, "val")])
def test_a_pod_gets_its_task_and_its_model_as_they_are(runner, train, mode):
    made = manifest(runner, TASK, train=train)
    seen = expanded(made["spec"]["template"]["spec"]["containers"][0])
    url = f"http://gateway.example:8080/proxy/rollout/3-1-0-abcd/attempt/0/mode/{mode}/openai/v1"
    assert seen["OPENAI_BASE_URL"] == seen["AGL_OPENAI_BASE_URL"] == url
    assert seen["OPENAI_API_KEY"] == "the-key"
    assert json.loads(seen["HOMEGROUND_TASK"]) == TASK
    assert seen["QUESTION"] == TASK["question"], "neither template language has read it"
    assert json.loads(seen["ROW"]) == {"id": 2}
    assert (seen["REGION"], seen["MODE"]) == ("no$(AGL_KEY)rth", "{{ x }} $(AGL_KEY)")
    assert set(seen) == {
        "AGL_OPENAI_BASE_URL", "AGL_EVENT_URL", "AGL_KEY", "OPENAI_BASE_URL", "OPENAI_API_KEY", "HOMEGROUND_TASK",
        "QUESTION", "ROW", "REGION", "MODE",
    }  # fmt: skip


def test_mistakes_are_told():
    with pytest.raises(HomegroundError, match="address at which pods reach the gateway"):
        KubernetesRunner(Job("image"), "")
    with pytest.raises(HomegroundError, match="endraw"):
        KubernetesRunner(Job("image", env={"A": "{% endraw %}"}), "http://x").config("r", {})
    with pytest.raises(HomegroundError, match="NOT_SET_AT_ALL, which is not set"):
        KubernetesRunner(Job("image", env={"A": "env.NOT_SET_AT_ALL"}), "http://x").start(Gateway())
