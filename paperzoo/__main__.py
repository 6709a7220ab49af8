"""`python -m paperzoo`: what `python train.py` is in a checkout."""

from paperzoo.cli import main

if __name__ == "__main__":
    main()
