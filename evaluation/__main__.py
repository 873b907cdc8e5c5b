"""`python -m evaluation` is the command `velo-evaluate`."""

from configs.evaluate_command import main

if __name__ == "__main__":
    raise SystemExit(main())
