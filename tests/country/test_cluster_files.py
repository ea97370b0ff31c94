"""The files of the cluster kit say what Ray and KubeRay understand, and what this selion does.

Fields of a RayJob are those of KubeRay's API reference (ray.io/v1), written down by hand; a Ray
cluster's file is held against the schema that Ray itself has.  Neither was run on Kubernetes.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest

from selion import country
from selion.runners import RunnerOptions

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[2]
JOB = {
    "entrypoint": str, "shutdownAfterJobFinishes": bool, "ttlSecondsAfterFinished": int,
    "activeDeadlineSeconds": int, "backoffLimit": int, "rayClusterSpec": dict, "suspend": bool,
    "submissionMode": str, "runtimeEnvYAML": str, "entrypointNumCpus": float,
}  # fmt: skip
CLUSTER = {
    "rayVersion": str, "enableInTreeAutoscaling": bool, "autoscalerOptions": dict,
    "headGroupSpec": dict, "workerGroupSpecs": list,
}  # fmt: skip
HEAD = {"rayStartParams": dict, "template": dict, "serviceType": str, "enableIngress": bool}
WORKERS = {
    "groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int,
    "rayStartParams": dict, "template": dict, "idleTimeoutSeconds": int, "numOfHosts": int,
}  # fmt: skip
NEEDED = {"groupName", "minReplicas", "maxReplicas", "template"}
CONTAINER = {"name": str, "image": str, "ports": list, "resources": dict, "volumeMounts": list}
UNITS = {"Gi": 2**30, "Mi": 2**20}


def read(name):
    return yaml.safe_load((ROOT / "cluster" / name).read_text())


@pytest.fixture(scope="module")
def job():
    return read("rayjob.yaml")


def check(given, fields):
    for name, value in given.items():
        assert isinstance(value, fields[name]), name


def test_the_ray_job_has_fields_that_there_are(job):
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])
    assert set(job) == {"apiVersion", "kind", "metadata", "spec"}
    check(job["spec"], JOB)
    cluster = job["spec"]["rayClusterSpec"]
    check(cluster, CLUSTER)
    check(cluster["headGroupSpec"], HEAD)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        # the parameters of ray start are words, numbers too
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        assert set(pod) == {"containers", "volumes"}
        check(pod["containers"][0], CONTAINER)
        mounted = {one["name"] for one in pod["containers"][0]["volumeMounts"]}
        assert mounted == {one["name"] for one in pod["volumes"]}
    for group in cluster["workerGroupSpecs"]:
        check(group, WORKERS)
        assert set(group) >= NEEDED
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_its_entrypoint_calls_what_there_is_within_what_a_pod_may_take(job, monkeypatch):
    """Run as a shell would, on nothing: the call is noted down instead."""
    called = []
    monkeypatch.setattr(country, "run_plan", lambda *given: called.append(given))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    python, flag, code = shlex.split(job["spec"]["entrypoint"])
    assert (python, flag) == ("python", "-c")
    exec(compile(code, "entrypoint", "exec"), {})
    ((folder, runner, limits),) = called
    assert runner == RunnerOptions("ray://10.0.0.1:6379", threads=2)
    worker = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    container = worker["containers"][0]
    assert folder.startswith(container["volumeMounts"][0]["mountPath"])
    most = container["resources"]["limits"]
    assert runner.threads == int(most["cpu"])
    number, unit = re.fullmatch(r"(\d+)(\D+)", most["memory"]).groups()
    # the job is told before the pod is killed, and Ray itself needs some
    assert limits.memory * 1e9 < int(number) * UNITS[unit] - 1e9


def test_the_ray_cluster_file_fits_rays_own_schema():
    jsonschema = pytest.importorskip("jsonschema")
    place = importlib.util.find_spec("ray")
    if place is None:
        pytest.skip("Ray is not installed (extra 'cluster')")
    schema = json.loads((Path(place.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(read("ray-cluster.yaml"), schema)


def test_the_container_is_of_the_wheel_and_the_extra_that_the_files_name():
    text = (ROOT / "Containerfile").read_text()
    assert "dist/selion-*.whl" in text
    for name in ("rayjob.yaml", "ray-cluster.yaml"):
        extra = re.search(r"EXTRAS=(\w+)", (ROOT / "cluster" / name).read_text())[1]
        assert f'{extra} = ["ray' in (ROOT / "pyproject.toml").read_text()
