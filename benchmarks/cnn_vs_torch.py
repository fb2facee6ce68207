"""`benchmarks.vs_torch` for classifiers on random images, by default that of Fashion-MNIST.

python -m benchmarks.cnn_vs_torch [--config=experiments/cnn/fashion_mnist.py] [--set=task.model.depth=1] [--batch=128]
"""

import sys

from benchmarks.vs_torch import main

if __name__ == "__main__":
    main(["--image", "28", "28", "1", *sys.argv[1:]])
