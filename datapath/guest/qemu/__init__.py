"""Guests that are QEMUs of our own: command line, process, QMP, hardware, live migration."""
