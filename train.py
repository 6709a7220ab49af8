"""The entrypoint: `python train.py experiment=glow/cifar10`. `python train.py --help` shows what can be chosen."""

from paperzoo.cli import main

if __name__ == "__main__":
    main()
