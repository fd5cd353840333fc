"""What the kernel lacks is said before anything is touched."""

from __future__ import annotations

import pytest

import sdn.lab
from datapath.errors import MachineError
from datapath.linux import form
from tests.lab.labs import Lab, unique_name

pytestmark = pytest.mark.lab
TOPOLOGY = """
chassis:
  hv[1-2]: {datapath: linux}
networks:
  red: {segment: {nvgre: 5000}, subnet: 10.1.0.0/24}
nodes:
  n[1-2]: {network: red}
"""


def test_gre_is_asked_for_before_the_lab_is_made() -> None:
    """Where the kernel has it the file is right, where not the line is named."""
    lab = Lab(unique_name())
    model = lab.parse(TOPOLOGY)
    if form.has_tunnel("gretap"):
        assert sdn.lab.look_at_machine(model) == {}
        return
    with pytest.raises(
        MachineError, match=r"lab\.yaml:5:3: this kernel has no GRE \(gretap\), which network 'red'"
    ) as no:
        sdn.lab.up(model)
    assert "modprobe ip_gre" in no.value.remedy
    assert lab.leftovers() == []


def test_vxlan_is_there() -> None:
    lab = Lab(unique_name())
    assert sdn.lab.look_at_machine(lab.parse(TOPOLOGY.replace("nvgre", "vxlan"))) == {}
