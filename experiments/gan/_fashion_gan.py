"""Training of the Fashion-MNIST GAN recipes."""

from fiddle.experimental.auto_config import auto_config

from experiments._fashion_mnist import fashion_mnist
from jaxdl import CheckpointPolicy, Experiment, InitFromRun
from jaxdl.tasks.image_generation import ImageGeneration
from jaxdl.training.optimizers import adam


@auto_config
def fashion_gan(
    task: ImageGeneration,
    steps: int,
    fid_classifier: str,
    seed: int,
    b1: float,
    b2: float = 0.999,
    log_every: int = 100,
    eval_every: int = 500,
) -> Experiment:
    """Returns the training of a GAN with Adam at a constant learning rate."""
    return Experiment(
        task=task,
        data=fashion_mnist(batch_size=64),
        optimizers={
            "discriminator": adam(learning_rate=5e-4, steps=steps, schedule="constant", b1=b1, b2=b2),
            "generator": adam(learning_rate=5e-4, steps=steps, schedule="constant", b1=b1, b2=b2),
        },
        start=InitFromRun(run=fid_classifier, groups={"fid_classifier": "classifier"}),
        ema=0.999,
        steps=steps,
        seed=seed,
        log_every=log_every,
        eval_every=eval_every,
        save_every=eval_every,
        keep=CheckpointPolicy(metric="validation/fid", mode="min"),
    )
