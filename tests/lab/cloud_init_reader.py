"""Reads a seed's files with cloud-init's own code and prints what it makes of them, as JSON.

Run by Debian's Python with its cloud-init in PYTHONPATH: `cloud_init_reader.py DIRECTORY`, in which `seed/` has the
files. Nothing of this project is imported.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from cloudinit import handlers, helpers, util
from cloudinit.config import schema
from cloudinit.distros.debian import Distro
from cloudinit.handlers.cloud_config import CloudConfigPartHandler
from cloudinit.net import eni, netplan, network_state, networkd
from cloudinit.sources.DataSourceNoCloud import DataSourceNoCloud
from cloudinit.user_data import UserDataProcessor


class _Merged(CloudConfigPartHandler):
    """The merged configuration as a value, not written to /var/lib/cloud."""

    def _write_cloud_config(self) -> None:
        self.merged = dict(self.cloud_buf or {})


def main(directory: Path) -> None:
    paths = helpers.Paths({"cloud_dir": str(directory / "cloud"), "run_dir": str(directory / "run")})
    found = util.pathprefix2dict(
        str(directory / "seed"), required=["user-data", "meta-data"], optional=["vendor-data", "network-config"]
    )
    network = util.load_yaml(found["network-config"])
    config, parts = _user_data(paths, found["user-data"])
    state = network_state.parse_net_config_data(network)
    rendered = _rendered(state, directory)
    said = {
        "meta-data": util.load_yaml(found["meta-data"]),
        "source": _source(directory, paths),
        "config": config,
        "parts": parts,
        "schema": _schema_errors(config),
        "interfaces": {each["name"]: each for each in state.iter_interfaces()},
        "rendered": rendered,
    }
    print(json.dumps(said, default=str))


def _user_data(paths: helpers.Paths, data: bytes) -> tuple[dict[str, Any], list[str]]:
    message = UserDataProcessor(paths).process(data)
    handler = _Merged(paths)
    kinds: list[str] = []

    def each(_: Any, name: str, payload: Any, headers: dict[str, str]) -> None:
        kinds.append(content_type := headers["Content-Type"])
        if content_type in ("text/cloud-config", "text/cloud-config-jsonp"):
            text = payload.decode() if isinstance(payload, bytes) else payload
            handler.handle_part(None, content_type, name, text, None, headers)

    handler.handle_part(None, handlers.CONTENT_START, None, None, None, None)
    handlers.walk(message, each, data=None)
    handler.handle_part(None, handlers.CONTENT_END, None, None, None, None)
    return {k: v for k, v in handler.merged.items() if k != "merge_how"}, kinds


def _schema_errors(config: dict[str, Any]) -> list[str]:
    try:
        schema.validate_cloudconfig_schema(config, strict=True, log_details=False)
    except schema.SchemaValidationError as error:
        return [str(error)]
    return []


def _source(directory: Path, paths: helpers.Paths) -> dict[str, Any]:
    """The data source itself, which finds the files in a directory here instead of on a disk."""
    source = DataSourceNoCloud({}, Distro("debian", {}, paths), paths)
    source.seed_dirs = [str(directory / "seed")]
    got = source._get_data()
    return {
        "found": got,
        "instance-id": source.get_instance_id(),
        "hostname": str(source.get_hostname()),
        "network": source.network_config,
    }


def _rendered(state: Any, directory: Path) -> dict[str, str]:
    """What it writes for each of the three kinds of distribution."""
    out = {}
    for name, renderer in {
        "eni": eni.Renderer({"eni_path": "interfaces"}),
        "networkd": networkd.Renderer({"network_conf_dir": "/network/"}),
        "netplan": netplan.Renderer({"netplan_path": "netplan.yaml"}),
    }.items():
        target = directory / "rendered" / name
        target.mkdir(parents=True)
        renderer.render_network_state(state, target=str(target))
        files = sorted(each for each in target.rglob("*") if each.is_file())
        out[name] = "\n".join(f"# {each.name}\n{each.read_text()}" for each in files)
    return out


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    main(Path(sys.argv[1]))
