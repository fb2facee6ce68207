"""ResNet-50 with ImageNet weights fine-tuned on Oxford-IIIT Pet (37 breeds).

Result: none recorded yet
Run:    python launch.py --config=experiments/cnn/resnet_finetune.py --set=weights=DIR

DIR is a local folder with config.json and model.safetensors, written by
`ResNetForImageClassification.save_pretrained`. The stem and the first stage are frozen; the other stages have a tenth
of the head's learning rate.
"""

from fiddle.experimental.auto_config import auto_config

from experiments._imagenet import imagenet_normalize
from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.image.resize import RandomResizedCrop, ResizeCrop
from jaxdl.data.image.transforms import RandomFlip
from jaxdl.interop.huggingface.resnet import HuggingFaceWeights
from jaxdl.models.resnet import resnet50
from jaxdl.tasks.image_classification import ImageClassification
from jaxdl.training.optimizers import sgd

METRIC = "validation/accuracy"


@auto_config
def experiment(weights: str = "", steps: int = 1500, size: int = 224, seed: int = 0) -> Experiment:
    return Experiment(
        task=ImageClassification(
            resnet50(num_classes=37, dtype="bfloat16", frozen_stages=1),
            label_smoothing=0.1,
            normalize=imagenet_normalize(),
            top=(1, 5),
        ),
        start=HuggingFaceWeights(weights, head=False),
        data=Data(
            train=Dataset("tfds:oxford_iiit_pet", "train[:90%]", features=("image", "label")),
            evals={"validation": Dataset("tfds:oxford_iiit_pet", "train[90%:]", features=("image", "label"))},
            test=Dataset("tfds:oxford_iiit_pet", "test", features=("image", "label")),
            augment=(RandomResizedCrop(size, scale=(0.25, 1.0)), RandomFlip()),
            eval_transforms=(ResizeCrop(size * 8 // 7, size),),
            batch_size=64,
        ),
        optimizers={
            "train": sgd(
                learning_rate=0.05,
                steps=steps,
                warmup=1 / 15,
                weight_decay=1e-4,
                scales={"stage*": 0.1},
                frozen=("stem", "stage1"),
            )
        },
        steps=steps,
        seed=seed,
        eval_every=250,
        save_every=250,
        keep=CheckpointPolicy(metric="validation/accuracy"),
    )
