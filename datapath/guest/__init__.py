"""Guests: what a QEMU machine needs before it can start. Images, volumes and QMP are not here yet.

kernel: Debian's kernel, fetched and unpacked · initramfs: an archive that boots it · accel: KVM or TCG, and why.
"""
