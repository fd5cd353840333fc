"""Edge to the Linux kernel: network namespaces and their devices. Enters: values of `datapath.spec`; leaves: what the
kernel has, as values. Never: a fork, a shell, a device outside of the namespaces that carry our mark.
"""
