"""The files of the cluster kit say what Ray and KubeRay understand, and what this selion does.

Fields of a RayJob are those of KubeRay's API reference (ray.io/v1), written down by hand; a Ray
cluster's file is held against the schema that Ray itself has.  bench/cluster_kit.py runs both on
three machines of this one; neither was run on Kubernetes.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from command_line import run_here
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


def calls(text, plan, monkeypatch):
    """Run a command of the files as a shell would, on nothing: the call is noted down instead."""
    called = []

    def note(*given, **_):
        called.append(given)
        return country.PlanRun((), (), {})

    monkeypatch.setattr(country, "run_plan", note)
    program, *words = shlex.split(text.replace("/data/plan", str(plan)))
    assert program == "selion"
    done = run_here(*words)
    assert (done.returncode, done.stderr) == (0, "")
    ((folder, *more),) = called
    assert folder == plan
    return more


def test_its_entrypoint_calls_what_there_is_within_what_a_pod_may_take(job, tmp_path, monkeypatch):
    entrypoint = job["spec"]["entrypoint"]
    # KubeRay puts it into a line of its submitter's shell as it is, and Ray into another of its own
    assert not re.search(r"[$`\"'\\;&|<>()*?#~\n]", entrypoint.strip())
    runner, limits = calls(entrypoint, tmp_path, monkeypatch)
    assert runner == RunnerOptions("ray://auto", threads=2)
    worker = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    container = worker["containers"][0]
    assert container["volumeMounts"][0]["mountPath"] == "/data"
    most = container["resources"]["limits"]
    assert runner.threads == int(most["cpu"])
    number, unit = re.fullmatch(r"(\d+)(\D+)", most["memory"]).groups()
    # the job is told before the pod is killed, and Ray itself needs some
    assert limits.memory * 1e9 < int(number) * UNITS[unit] - 1e9


def test_the_command_in_the_cluster_files_head_calls_what_there_is(tmp_path, monkeypatch):
    (said,) = re.findall(r'ray exec .*? "(.*)"', (ROOT / "cluster/ray-cluster.yaml").read_text())
    runner, limits = calls(said, tmp_path, monkeypatch)
    assert runner == RunnerOptions("ray://10.0.0.1:6379", threads=2)
    assert limits.memory == 7


def test_what_the_tests_install_takes_jobs_in():
    """Without Ray's job server the tests below are skipped, wherever they run."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (wanted,) = [Requirement(one) for one in extras["test"] if one.startswith("ray")]
    assert wanted.extras >= {"client", "default"}
    versions = (ROOT / "constraints.txt").read_text()
    for name in ("aiohttp", "aiohttp-cors", "opencensus"):
        assert re.search(rf"^{name}==", versions, re.MULTILINE)


@pytest.mark.long
@pytest.mark.parametrize("file", ["rayjob", "cluster"])
def test_the_files_are_run_and_lose_a_node(file):
    """Held in 'make test' by the tests of this file, and by those of jobs, nodes and links."""
    bench = [sys.executable, str(ROOT / "bench" / "cluster_kit.py"), file]
    done = subprocess.run(bench, capture_output=True, text=True, check=False, timeout=1800)
    if done.stdout.startswith("skipped: "):
        pytest.skip(done.stdout.strip().removeprefix("skipped: "))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


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
