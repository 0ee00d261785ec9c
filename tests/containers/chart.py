"""The chart, rendered by Helm's own library."""

import copy
import functools
import shutil
import tarfile
import tempfile

import yaml
from helm_python import Chart
from helm_python.chart import lint, package, values_from_yaml

from programs import ROOT

CHART = ROOT / "deploy/helm/openemr-gateway"
RELEASE, NAMESPACE = "emr", "fhir"
NAME = f"{RELEASE}-openemr-gateway"


@functools.cache
def _copied():
    """A copy of the chart with files in the place of links, of which Helm would tell each time."""
    folder = tempfile.TemporaryDirectory(prefix="chart-")
    shutil.copytree(CHART, folder.name, dirs_exist_ok=True)
    return folder


@functools.cache
def _loaded():
    return Chart.load(_copied().name)


def example(name):
    """The values of an example."""
    return values_from_yaml((CHART / "examples" / f"{name}.yaml").read_text())


def merged(values, other):
    """Values with others over them, as several files of values are merged."""
    result = copy.deepcopy(values)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


def rendered(values):
    """The objects of a release, and its notes."""
    files = _loaded().render(values, name=RELEASE, namespace=NAMESPACE)
    objects = [one for path, text in sorted(files.items()) if path.endswith(".yaml") for one in yaml.safe_load_all(text) if one]
    return objects, next(text for path, text in files.items() if path.endswith("NOTES.txt"))


def find(objects, kind, name=NAME):
    """The one object of this kind and name."""
    [found] = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def configuration(objects):
    """The text of gateway.yaml."""
    [found] = [one for one in objects if one["kind"] in ("ConfigMap", "Secret")]
    return (found.get("data") or found["stringData"])["gateway.yaml"]


def container(objects):
    """The gateway's container and the pod's specification."""
    pod = find(objects, "Deployment")["spec"]["template"]["spec"]
    return pod["containers"][0], pod


def packaged(folder):
    """The names of the files in the archive that `helm package` makes, each with its content."""
    with tarfile.open(package(CHART, destination=folder)) as archive:
        return {one.name.split("/", 1)[1]: archive.extractfile(one).read() for one in archive if one.isfile()}


def metadata():
    """Chart.yaml."""
    return _loaded().metadata


def linted(values):
    """What `helm lint --strict` objects to."""
    report = lint(_copied().name, values, strict=True, namespace=NAMESPACE)
    return report["errors"] + [message for message in report["messages"] if message["severity"] > 1]
