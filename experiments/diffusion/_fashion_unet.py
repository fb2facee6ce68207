"""U-Net of the Fashion-MNIST diffusion recipes."""

from fiddle.experimental.auto_config import auto_config

from jaxdl.models.ddpm_unet import DiffusionUNet


@auto_config
def fashion_unet() -> DiffusionUNet:
    """Returns a class-conditional U-Net on 2x2 patches, without attention."""
    return DiffusionUNet(
        outputs=1,
        channels=(32, 96),
        blocks=1,
        attention=(False, False),
        classes=10,
        groups=8,
        patch=2,
    )
