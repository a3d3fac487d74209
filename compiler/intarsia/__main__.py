"""`python -m intarsia` is the program `intarsia`."""

from intarsia.cli.main import main

main()
