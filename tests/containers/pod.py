"""A pod of the chart, without a cluster: volumes as a kubelet lays them out, and the container of the Deployment in the image.

The network is this machine's own, and the seccomp profile is left out.
"""

import os
import pathlib
import shutil

import chart
from image import image
from programs import Program, folder

CONFIGURATION = "/etc/openemr-gateway"


class Volume:
    """A projected volume, as a kubelet's atomic writer writes it: a tmpfs whose folder is sticky, a folder of a new name for each
    content, and links to it through `..data`, which is replaced in one step. Files are root's and can be read by `fsGroup`."""

    def __init__(self, test, group, mode, sticky=True):
        self.group, self.mode, self._number = group, mode, 0
        self.path = pathlib.Path(folder(test))
        os.chown(self.path, 0, group)
        self.path.chmod(0o3777 if sticky else 0o2777)

    def write(self, files):
        """Replaces the content: {path: bytes}."""
        self._number += 1
        place = self.path / f"..2026_11_29.{self._number}"
        for path, content in files.items():
            file = place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(self.mode)
        for found in [place, *place.rglob("*")]:
            os.chown(found, 0, self.group)
            if found.is_dir():
                found.chmod(0o2755)
        data, new = self.path / "..data", self.path / "..data_tmp"
        old = data.resolve() if data.is_symlink() else None
        new.symlink_to(place.name)
        new.rename(data)
        for name in {path.split("/")[0] for path in files}:
            link = self.path / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        if old:
            shutil.rmtree(old)


class Pod:
    """The container of a rendered Deployment. `secrets` are those that the cluster has besides, {name: {key: bytes}};
    `claim` is the folder of the claim."""

    def __init__(self, test, objects, secrets, name="emr-openemr-gateway-1", claim=None):
        self.test, self.objects, self.name, self._claim = test, objects, name, claim
        self.container, self.spec = chart.container(objects)
        self.secrets, self.config_maps = dict(secrets), {}
        for one in objects:
            if one["kind"] in ("ConfigMap", "Secret"):
                content = {key: value.encode() for key, value in (one.get("data") or one["stringData"]).items()}
                (self.config_maps if one["kind"] == "ConfigMap" else self.secrets)[one["metadata"]["name"]] = content
        security = self.spec["securityContext"]
        self.user, self.group = security["runAsUser"], security["fsGroup"]
        self._volumes = {volume["name"]: self._lay_out(volume) for volume in self.spec["volumes"]}

    def _lay_out(self, volume):
        if "projected" in volume:
            projected = volume["projected"]
            laid = self.configuration = Volume(self.test, self.group, projected["defaultMode"])
            self._sources = projected["sources"]
            self.update()
            return str(laid.path)
        path = self._claim if self._claim and "persistentVolumeClaim" in volume else folder(self.test)
        os.chown(path, 0, self.group)
        os.chmod(path, 0o2777)
        return path

    def update(self):
        """Writes the configuration volume anew, as a kubelet does some time after a Secret or ConfigMap has changed."""
        files = {}
        for source in self._sources:
            [(kind, wanted)] = source.items()
            content = (self.secrets if kind == "secret" else self.config_maps)[wanted["name"]]
            items = wanted.get("items") or [{"key": key, "path": key} for key in content]
            files |= {item["path"]: content[item["key"]] for item in items}
        self.configuration.write(files)

    def mounts(self):
        """The container's mounts, each with its place in the image."""
        for mount in self.container["volumeMounts"]:
            path = pathlib.Path(self._volumes[mount["name"]])
            inner = mount.get("subPath") or mount.get("subPathExpr", "").replace("$(POD_NAME)", self.name)
            if inner:
                # It has the mode of the volume's folder.
                path = path / inner
                path.mkdir(exist_ok=True)
                os.chown(path, 0, self.group)
                path.chmod(0o2777)
            yield [str(path), mount["mountPath"], "ro" if mount.get("readOnly") else "rw"]

    def volume(self, name):
        """The folder of a volume."""
        return pathlib.Path(self._volumes[name])

    def _options(self):
        env = {one["name"]: one.get("value", self.name) for one in self.container["env"]}
        return {
            "mounts": list(self.mounts()),
            "user": self.user,
            "group": self.spec["securityContext"]["runAsGroup"],
            "cwd": self.container["workingDir"],
            "env": env,
            "read_only": self.container["securityContext"]["readOnlyRootFilesystem"],
        }

    def start(self):
        """Starts the container."""
        self.program = Program(self.test, image().enter([*image().entrypoint, *self.container["args"]], **self._options()))
        return self.program

    def run(self, *command):
        """The exit code of a command in the container, and what it printed."""
        return image().code(list(command), **self._options())

    def probe(self, name):
        """Whether a probe succeeds, with what it printed."""
        code, said = self.run(*self.container[name]["exec"]["command"])
        return code == 0, said
