import torch

from paperzoo.nn.squeeze import squeeze, unsqueeze


def test_original_channel_is_slowest_then_row_then_column():
    x = torch.arange(2 * 4 * 4, dtype=torch.float).view(1, 2, 4, 4)
    y = squeeze(x)
    assert y.shape == (1, 8, 2, 2)
    for channel in range(2):
        for row in range(2):
            for column in range(2):
                torch.testing.assert_close(y[0, 4 * channel + 2 * row + column], x[0, channel, row::2, column::2])


def test_unsqueeze_undoes_squeeze():
    x = torch.randn(2, 3, 6, 4)
    torch.testing.assert_close(unsqueeze(squeeze(x)), x, rtol=0, atol=0)
