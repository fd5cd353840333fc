"""Guests that libvirt runs: domains, a libvirtd of each emulated chassis, libvirt's library."""
