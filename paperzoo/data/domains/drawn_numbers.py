"""Numbers drawn to look like house numbers, in the place of SYN NUMBERS (Ganin et al. 2016, section 5.2)."""

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont
from pydantic import PositiveInt
from torch import Generator, Tensor

from paperzoo.data.domains.image_domains import ImageDomain
from paperzoo.data.images.fitting import Fit
from paperzoo.data.prepared.cache import ArrayWriter
from paperzoo.data.prepared.file_set import GENERATED, FileSet
from paperzoo.datamodule import stream_seed

SIDE = 32

# Every matplotlib brings these along, so that all machines draw alike.
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta", "cmb10", "cmss10", "cmtt10",
)  # fmt: skip

# Glyphs are drawn so large, and the images twice as large as they become in the end.
_CELL_HEIGHT, _CELL_WIDTH, _DIGIT_HEIGHT, _OUTLINE = 64, 44, 40, 3
_OVERSAMPLING = 2
_BLUR_REACH = 3
_GROUP = 1000


class DrawnNumbers(ImageDomain):
    """Numbers drawn by ourselves in the place of SYN NUMBERS, and a tenth as many for testing. No download.

    Numbers of one to three digits in varied fonts, sizes, places, orientations, colours, outlines and blur, as the
    paper says of its set; the label is the digit in the middle. The fonts are matplotlib's, not those of Windows, and
    how much varies is our choice.

    Args:
        images: training images.
        fit: see `ImageDomain`.
    """

    def __init__(self, images: PositiveInt, fit: Fit) -> None:
        def convert(files: Path, writer: ArrayWriter) -> None:
            for part, count in (("train", images), ("test", max(1, images // 10))):
                for start in range(0, count, _GROUP):
                    generator = Generator().manual_seed(stream_seed("drawn numbers", part, start))
                    image, label = draw_numbers(min(_GROUP, count - start), generator)
                    writer.append(f"{part}_images", image.numpy())
                    writer.append(f"{part}_labels", label.numpy())

        digits = tuple("0123456789")
        super().__init__(
            FileSet(f"drawn_numbers_{images}", convert, shape=(3, SIDE, SIDE), classes=digits, terms=GENERATED), fit
        )


def draw_numbers(count: int, generator: Generator) -> tuple[UInt8[Tensor, "image 3 32 32"], Int64[Tensor, " image"]]:
    """Images of numbers, and the digit in the middle of each."""
    digits = torch.randint(10, (count, 3), generator=generator)
    font = torch.randint(len(FONTS), (count, 1), generator=generator)
    shown = torch.rand(count, 3, generator=generator) < torch.tensor([0.5, 1.0, 0.5])
    cells = glyphs()[font, digits] * shown[:, :, None, None, None]
    strips = cells.permute(0, 2, 3, 1, 4).reshape(count, 2, _CELL_HEIGHT, 3 * _CELL_WIDTH)
    grid = F.affine_grid(
        _placements(count, generator), [count, 2, _OVERSAMPLING * SIDE, _OVERSAMPLING * SIDE], align_corners=False
    )
    ink, outlined = F.avg_pool2d(F.grid_sample(strips, grid, align_corners=False), _OVERSAMPLING).split(1, dim=1)
    ground, stroke, outline = _colours(count, generator)
    has_outline = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    image = torch.lerp(ground, outline, (outlined * has_outline).expand(-1, 3, -1, -1))
    image = _blur(torch.lerp(image, stroke, ink.expand(-1, 3, -1, -1)), 1.3 * torch.rand(count, generator=generator))
    return image.round().clamp(0, 255).byte(), digits[:, 1]


def _placements(count: int, generator: Generator) -> Float[Tensor, "image 2 3"]:
    """Where in its strip of three glyphs each pixel of an image lies, in the coordinates of `affine_grid`."""
    height, stretch, angle, slant, right, down = _uniform(
        count, [(14.0, 26.0), (0.8, 1.2), (-0.3, 0.3), (-0.2, 0.2), (-2.0, 2.0), (-2.0, 2.0)], generator
    )
    scale = _DIGIT_HEIGHT / height
    cos, sin = scale * angle.cos(), scale * angle.sin()
    to_strip = torch.stack(
        [torch.stack([(cos + slant * sin) / stretch, (sin - slant * cos) / stretch], 1), torch.stack([-sin, cos], 1)], 1
    )
    offset = -to_strip @ torch.stack([right, down], 1)[..., None]
    size = torch.tensor([3 * _CELL_WIDTH / 2, _CELL_HEIGHT / 2])[:, None]
    return torch.cat([to_strip * SIDE / 2, offset], 2) / size


def _uniform(count: int, ranges: list[tuple[float, float]], generator: Generator) -> Float[Tensor, "quantity image"]:
    low, high = torch.tensor(ranges).T[..., None]
    return low + (high - low) * torch.rand(len(ranges), count, generator=generator)


def _colours(count: int, generator: Generator) -> Float[Tensor, "3 image 3 1 1"]:
    """Ground, stroke and outline; of three colours, the stroke's is the one that stands out most from the ground."""
    ground, outline, *strokes = 255 * torch.rand(5, count, 3, generator=generator)
    candidates = torch.stack(strokes)
    best = (candidates - ground).norm(dim=2).argmax(0)
    return torch.stack([ground, candidates[best, torch.arange(count)], outline])[..., None, None]


def _blur(image: Float[Tensor, "image 3 32 32"], width: Float[Tensor, " image"]) -> Float[Tensor, "image 3 32 32"]:
    """Each image under a Gaussian of its own standard deviation, in pixels."""
    reach = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1)
    weights = torch.softmax(-(reach**2) / (2 * width[:, None] ** 2).clamp(min=1e-3), dim=1)[:, :, None, None, None]
    for axis, margin in ((2, (0, 0, _BLUR_REACH, _BLUR_REACH)), (3, (_BLUR_REACH, _BLUR_REACH, 0, 0))):
        padded = F.pad(image, margin, mode="replicate")
        shifted = (padded.narrow(axis, place, SIDE) * weights[:, place] for place in range(len(reach)))
        image = sum(shifted, torch.zeros_like(image))
    return image


@cache
def glyphs() -> Float[Tensor, "font digit 2 64 44"]:
    """How much of each pixel is ink, for every digit of every font, without an outline and with it."""
    return torch.stack([torch.stack([_glyph(font, digit) for digit in "0123456789"]) for font in FONTS])


def _glyph(name: str, digit: str) -> Float[Tensor, "2 64 44"]:
    font = _font(name)
    drawn = []
    for outline in (0, _OUTLINE):
        picture = Image.new("L", (_CELL_WIDTH, _CELL_HEIGHT))
        middle = (_CELL_WIDTH / 2, (_CELL_HEIGHT + _DIGIT_HEIGHT) / 2)
        ImageDraw.Draw(picture).text(middle, digit, fill=255, font=font, anchor="ms", stroke_width=outline)
        drawn.append(torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8))
    return torch.stack(drawn).view(2, _CELL_HEIGHT, _CELL_WIDTH) / 255


@cache
def _font(name: str) -> ImageFont.FreeTypeFont:
    import matplotlib  # only the first use needs it

    path = Path(matplotlib.get_data_path()) / "fonts/ttf" / f"{name}.ttf"
    layout = ImageFont.Layout.BASIC  # the other one is not everywhere
    _, top, _, bottom = ImageFont.truetype(path, 100, layout_engine=layout).getbbox("0", anchor="ls")
    return ImageFont.truetype(path, round(100 * _DIGIT_HEIGHT / (bottom - top)), layout_engine=layout)
