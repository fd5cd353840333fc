"""The topology file's guests as pydantic models: the hardware of a QEMU machine, and what it starts from.

Enters: plain values. Leaves: parts of a `Topology` (`schema`), every scalar parsed. Never: a file opened.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from sdn.topology.attached import Attached, Nic
from sdn.topology.machine_values import Bytes, PciAddress, Text, UserData, UserName, VolumeName
from sdn.topology.parts import Part
from sdn.topology.values import Bounded, Name, OneOrMany

LEAST_BUILTIN: Final = 112 << 20
"""Bytes with which the built-in guest still starts."""

DEFAULT_BUILTIN: Final = 128 << 20
DEFAULT_MEMORY: Final = 512 << 20


class Kernel(Part):
    """A kernel that QEMU starts itself, without a boot loader."""

    image: Text = Field(description="Path of the kernel.")
    initrd: Text | None = Field(None, description="Path of its initial RAM disk.")
    append: Text | None = Field(None, description="Its command line.")


class Cloud(Part):
    """What cloud-init finds in the guest."""

    user: UserName = Field("sdn", description="A user that it makes, who may become root.")
    ssh_keys: Annotated[list[Text], OneOrMany()] = Field(
        [], description="Public keys of that user, or the path of a file with them."
    )
    user_data: UserData | None = Field(
        None, description="User-data of your own, which goes along whole: the path of it, or its lines themselves."
    )


class Guest(Attached):
    """A QEMU/KVM machine with one interface (`network` or `trunk`) or several (`nics`). Without `image` and `kernel` it
    is the built-in one."""

    several = "nics"

    nics: list[Nic] | None = Field(None, min_length=1, description="Its interfaces, where there are several.")
    dhcp: bool = Field(False, description="Whether it asks for its addresses by DHCP instead of being told.")
    memory: Bytes | None = Field(None, description="Its memory, such as 256M; 128M for the built-in guest, else 512M.")
    cpus: Annotated[int, Bounded("cpus", 1, 255)] = Field(1, description="Its virtual processors.")
    image: Text | None = Field(None, description="The qcow2 or raw image that it starts from, which stays as it is.")
    disk: Bytes | None = Field(None, description="Size of its own disk over the image, such as 10G.")
    kernel: Kernel | None = Field(None, description="A kernel that is started without a boot loader.")
    volumes: Annotated[list[VolumeName], OneOrMany()] = Field(
        [], description="Volumes of the pool that it has besides."
    )
    cloud: Cloud | None = Field(None, description="What cloud-init finds in it.")
    devices: Annotated[list[PciAddress], OneOrMany()] = Field(
        [], description="PCI devices of this machine that it gets for itself; it cannot migrate with them."
    )
    power: Literal["on", "off", "paused"] | None = Field(
        None, description="Whether it runs; where it is not given, as it was, at first on."
    )
    restart: Literal["never", "on-failure", "always"] = Field(
        "on-failure", description="Whether it is started again when it has died, or always when it has ended."
    )
    driver: Literal["qemu", "libvirt"] = Field("qemu", description="Who runs it: we with QEMU, or a libvirtd.")
    migration: Literal["auto", "pre-copy", "stop-and-copy", "post-copy"] = Field(
        "auto", description="How it moves while it runs."
    )
    anti_affinity: Annotated[list[Name], OneOrMany()] = Field(
        [], description="Words; guests with one in common are on different chassis."
    )

    @model_validator(mode="after")
    def _machine(self) -> Guest:
        self.check_attachment("guest")
        if self.dhcp and self.trunk is not None:
            raise ValueError("'dhcp' of a trunk is not possible yet; expected it on one network")
        self._check_migration()
        builtin = self.image is None and self.kernel is None
        if builtin and self.cloud is not None:
            raise ValueError("'cloud' is for cloud-init, which the built-in guest lacks; expected an 'image' beside it")
        if self.disk is not None and self.image is None:
            raise ValueError("'disk' is that over an image; expected an 'image' beside it, or 'volumes'")
        if builtin and self.memory is not None and self.memory < LEAST_BUILTIN:
            raise ValueError(
                f"the built-in guest does not start with {self.memory >> 20}M; expected {LEAST_BUILTIN >> 20}M at least"
            )
        return self

    def _check_migration(self) -> None:
        if self.migration != "auto" and self.devices:
            raise ValueError("a guest with 'devices' cannot move while it runs; expected no 'migration' beside them")
        if self.migration != "auto" and self.driver == "libvirt":
            raise ValueError("driver libvirt does not move guests while they run; expected no 'migration' beside it")

    @property
    def bytes(self) -> int:
        """Of memory."""
        builtin = self.image is None and self.kernel is None
        return self.memory or (DEFAULT_BUILTIN if builtin else DEFAULT_MEMORY)
