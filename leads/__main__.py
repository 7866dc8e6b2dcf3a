"""`python -m leads` is the `frontdesk` command."""

from leads.cli import main

main()
