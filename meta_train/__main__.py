"""`python -m meta_train` is the command `velo-meta-train`."""

from configs.meta_train_command import main

if __name__ == "__main__":
    raise SystemExit(main())
