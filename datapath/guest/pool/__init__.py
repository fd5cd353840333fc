"""Disks of guests: the pool of images and volumes, the guests' own, and seeds for cloud-init."""
