"""``python -m medsataug``: the command line."""

from medsataug.cli import main

if __name__ == "__main__":
    main()
