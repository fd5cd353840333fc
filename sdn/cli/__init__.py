"""What the user types and sees.

`main` has every command's arguments and help; what a command does is in the module of its group, imported when it runs,
so that `sdn --help` starts in the time that Python and typer take.
"""
