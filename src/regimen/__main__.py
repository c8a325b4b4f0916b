"""`python -m regimen`: the same as the `regimen` command; what torchrun starts."""

from regimen.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
