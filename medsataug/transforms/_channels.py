"""What transforms share that hit each channel by a chance of its own."""

from __future__ import annotations

from medsataug.draws import Draws
from medsataug.transforms.base import Probability, State, ValueTransform


class ChannelTransform(ValueTransform):
    """Base of transforms of values that need not change every channel.

    Parameters
    ----------
    channel_p : float
        Probability of each channel to be changed, once the transform is applied (`p`).
    """

    channel_p: Probability = 1.0

    def hit(self, draws: Draws, state: State) -> list[int]:
        """Draw which of the channels picked are changed."""
        picked = self.picked(state)
        if self.channel_p == 1:
            return picked
        hit = [c for c in picked if draws.uniform() < self.channel_p]
        draws.note("channels", ", ".join(state.channels[c].name for c in hit) or "none")
        return hit
