"""The manifests: valid for the API servers in use, consistent, and with no privilege that is not explained."""

import re

import jsonpatch
import jsonschema
import kubernetes_validate
import pytest
import yaml

from inetprobe import __version__
from inetprobe.commands.serve.web.routes import HEALTH, READINESS
from tests.support import serve_options
from tests.support.paths import ROOT

FOLDER = ROOT / "deploy/kubernetes"
#: appArmorProfile came with 1.30.
VERSIONS = ["1.30", ".".join(kubernetes_validate.latest_version().split(".")[:2])]

_TEXT = {"type": "string"}
_LABELS = {"type": "object", "additionalProperties": _TEXT}


def only(required=(), **properties):
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


#: Of the Prometheus Operator's PodMonitor (monitoring.coreos.com/v1) the fields in use; anything else is a mistake.
POD_MONITOR = only(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "PodMonitor"},
    metadata=only(("name",), name=_TEXT, namespace=_TEXT),
    spec=only(
        ("selector", "podMetricsEndpoints"),
        jobLabel=_TEXT,
        selector=only(matchLabels=_LABELS),
        sampleLimit={"type": "integer", "minimum": 0},
        podMetricsEndpoints={
            "type": "array",
            "items": only(
                port=_TEXT,
                path=_TEXT,
                interval={"type": "string", "pattern": r"^[0-9]+(ms|s|m|h)$"},
                relabelings={
                    "type": "array",
                    "items": only(sourceLabels={"type": "array", "items": _TEXT}, targetLabel=_TEXT),
                },
            ),
        },
    ),
)


def read(name):
    return yaml.safe_load((FOLDER / name).read_text())


def base():
    """The objects of the kustomization, by kind."""
    return {made["kind"]: made for made in (read(name) for name in read("kustomization.yaml")["resources"])}


def patched():
    """The DaemonSet as the overlay for Debian's nodes has it."""
    overlay = read("overlays/debian/kustomization.yaml")
    assert (FOLDER / "overlays/debian" / overlay["resources"][0]).resolve() == FOLDER.resolve()
    (patch,) = overlay["patches"]
    assert patch["target"] == {"kind": "DaemonSet", "name": "inetprobe"}
    return jsonpatch.apply_patch(base()["DaemonSet"], yaml.safe_load(patch["patch"]))


def container(daemon_set):
    (only_container,) = daemon_set["spec"]["template"]["spec"]["containers"]
    return only_container


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_by_the_schemas(version):
    objects = base()
    assert set(objects) == {"Namespace", "ServiceAccount", "NetworkPolicy", "DaemonSet", "PodMonitor"}
    for made in (*(objects[kind] for kind in objects if kind != "PodMonitor"), patched()):
        assert kubernetes_validate.validate(made, version, strict=True) == version
    misspelt = jsonpatch.apply_patch(
        objects["DaemonSet"], [{"op": "add", "path": "/spec/template/spec/hostPid", "value": True}]
    )
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misspelt, version, strict=True)


def test_the_pod_monitor_has_only_fields_of_the_operator():
    jsonschema.validate(base()["PodMonitor"], POD_MONITOR)


def test_every_manifest_is_in_the_kustomization():
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(read("kustomization.yaml")["resources"])
    assert [path.name for path in (FOLDER / "overlays").iterdir()] == ["debian"]


def test_all_objects_share_a_namespace_and_their_selectors_match():
    objects = base()
    name = objects["Namespace"]["metadata"]["name"]
    assert {made["metadata"].get("namespace", name) for made in objects.values()} == {name}
    spec = objects["DaemonSet"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert spec["template"]["spec"]["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    monitor = objects["PodMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert labels[monitor["jobLabel"]] == "inetprobe"
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in container(objects["DaemonSet"])["ports"]}


def test_its_arguments_are_valid_and_listen_on_the_scraped_port():
    made = container(base()["DaemonSet"])
    program, *options = made["args"]
    assert program == "serve"
    params = serve_options.params(options)
    (port,) = made["ports"]
    assert params["address"] == f":{port['containerPort']}"
    (endpoint,) = base()["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert endpoint["path"] == params["telemetry_path"]


def test_only_the_monitoring_namespace_may_connect_and_only_to_the_metrics():
    objects = base()
    policy, pod = objects["NetworkPolicy"]["spec"], objects["DaemonSet"]["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert "egress" not in policy  # none is allowed
    (rule,) = policy["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    (port,) = container(objects["DaemonSet"])["ports"]
    assert rule["ports"] == [{"protocol": port.get("protocol", "TCP"), "port": port["name"]}]
    for made in (objects["DaemonSet"], patched()):  # no policy holds for a pod of the node's own network
        assert "hostNetwork" not in made["spec"]["template"]["spec"]


def test_probes_request_paths_that_the_server_answers():
    made = container(base()["DaemonSet"])
    (port,) = made["ports"]
    paths = {name: made[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": HEALTH, "liveness": HEALTH, "readiness": READINESS}
    assert {made[f"{name}Probe"]["httpGet"]["port"] for name in paths} == {port["name"]}
    patience = made["startupProbe"]["periodSeconds"] * made["startupProbe"]["failureThreshold"]
    assert patience >= 120  # a slow machine compiles for a minute


def test_every_privilege_is_explained():
    objects = base()
    pod, context = objects["DaemonSet"]["spec"]["template"]["spec"], container(objects["DaemonSet"])["securityContext"]
    assert context["privileged"] is context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["BPF", "PERFMON"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostIPC"} & set(pod)
    assert pod["automountServiceAccountToken"] is objects["ServiceAccount"]["automountServiceAccountToken"] is False
    text = (FOLDER / "daemonset.yaml").read_text()
    assert all(re.search(rf"- {name} # \S", text) for name in context["capabilities"]["add"])
    added = container(patched())["securityContext"]["capabilities"]["add"]
    assert added == ["BPF", "PERFMON", "SYS_ADMIN", "SYS_RESOURCE"]
    reasons = (FOLDER / "overlays/debian/kustomization.yaml").read_text().split("apiVersion")[0]
    assert all(f"CAP_{name}" in reasons for name in added[2:])


def test_only_tracefs_can_be_written_and_every_volume_is_mounted():
    pod = base()["DaemonSet"]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount for mount in container(base()["DaemonSet"])["volumeMounts"]}
    assert set(volumes) == set(mounts)
    hosts = {name: volume["hostPath"]["path"] for name, volume in volumes.items() if "hostPath" in volume}
    assert all(mounts[name]["mountPath"] == path for name, path in hosts.items())
    assert [hosts[name] for name in hosts if not mounts[name].get("readOnly")] == ["/sys/kernel/tracing"]


def test_the_image_is_this_version():
    (image,) = read("kustomization.yaml")["images"]
    assert image == {"name": container(base()["DaemonSet"])["image"], "newTag": __version__}
    assert re.fullmatch(r"[\w][\w.-]{0,127}", __version__)


def test_the_namespace_allows_the_pods_privileges():
    labels = base()["Namespace"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"
