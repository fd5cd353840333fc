"""A lab on three chassis, one of them Linux', that several tests of the API have: the file, to add to at its end.

Enters: nothing. Leaves: text that ends within the tests of the topology. Never: a name, which each lab has of its own.
"""

from __future__ import annotations

THREE = """
chassis: {hv1: {}, hv2: {}, hv3: {datapath: linux}}
networks:
  web: {segment: {vxlan: 10010}, subnet: 10.10.0.0/24}
  db: {segment: {nvgre: 10020}, subnet: 10.20.0.0/24}
nodes:
  web1: {network: web, chassis: hv1}
  web2: {network: web, chassis: hv2}
  web3: {network: web, chassis: hv3}
  db1: {network: db, chassis: hv1}
tests:
  web: {from: web*, to: web*, ping: ok}
"""


def with_node(file: str, name: str, chassis: str) -> str:
    """One more in network db."""
    return file.replace("tests:", f"  {name}: {{network: db, chassis: {chassis}}}\ntests:")
