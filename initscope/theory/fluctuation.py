"""How a finite width lets kernels fluctuate between draws (docs/theory.md, §8).

At width d the kernel of one draw of the weights differs from its mean by 1/√d: as a Wishart
matrix where features are normal, and more where a branch's hidden units, which all features
share, fluctuate themselves. Five moments of a token's mean square and of two tokens' mean product
are followed through the blocks, to first order in 1/width.
"""

from __future__ import annotations

from typing import NamedTuple


class Size(NamedTuple):
    """A kernel in two numbers: one token's mean square, and two tokens' mean product."""

    square: float
    shared: float

    @property
    def cosine(self) -> float:
        """Mean cosine of two tokens."""
        return self.shared / self.square if self.square > 0 else 0.0


class Response(NamedTuple):
    """What a branch's kernel gains per unit of the cosine that it reads.

    ``square`` and ``shared`` when all cosines rise together, ``pair`` when that of one pair does.
    """

    square: float
    shared: float
    pair: float

    def scaled(self, factor: float) -> Response:
        """Return that of a branch multiplied by a factor."""
        return Response(*(factor * value for value in self))

    def normed(self, size: Size, factor: float) -> Response:
        """Return that of a branch of this size behind a norm, which multiplies it by a factor."""
        shared = self.shared - size.cosine * self.square
        return Response(0.0, shared, self.pair).scaled(factor)


class Lever(NamedTuple):
    """By how much ln of a gradient falls per unit of a kernel's deviation.

    Of all tokens' squares, of all pairs' products, and of one token's own square.
    """

    square: float
    shared: float
    own: float

    def scaled(self, factor: float) -> Lever:
        """Multiply by a factor."""
        return Lever(*(factor * value for value in self))

    def plus(self, other: Lever, times: float = 1.0) -> Lever:
        """Add another."""
        return Lever(*(a + times * b for a, b in zip(self, other, strict=True)))

    def back(self, size: Size, gain: Response, skip: float) -> Lever:
        """Return the lever before a sublayer whose branch reads cosines of the stream."""
        if size.square <= 0:
            return self.scaled(skip)
        turned = (gain.square * self.square + gain.shared * self.shared) / size.square
        return self.scaled(skip).plus(Lever(-size.cosine * turned, turned, 0.0))


class Fluctuation(NamedTuple):
    """Covariances between draws of the weights.

    Of the mean over tokens of the square, and of the mean over pairs of the product: ``square``,
    ``cross``, ``shared``. Of what one token has beyond: ``own`` its square's variance,
    ``own_cross`` that with its products. ``apart`` is the variance of one pair's product about
    its tokens' means.
    """

    square: float
    cross: float
    shared: float
    own: float
    own_cross: float
    apart: float

    def plus(self, other: Fluctuation, times: float = 1.0) -> Fluctuation:
        """Add an independent one; negative ``times`` takes it away."""
        return Fluctuation(*(a + times * b for a, b in zip(self, other, strict=True)))

    def scaled(self, factor: float) -> Fluctuation:
        """Return that of a kernel multiplied by a factor."""
        return Fluctuation(*(factor**2 * value for value in self))

    def after(self, size: Size, gain: Response, skip: float) -> Fluctuation:
        """Return that of stream and branch, where the branch reads cosines of the stream.

        ``skip`` multiplies the stream's kernel.
        """
        kept = self.scaled(skip)
        if size.square <= 0:
            return kept
        rho, q = size.cosine, size.square
        # Covariances of the cosine with the square and the product that are kept, and its own.
        with_square = skip * (self.cross - rho * self.square) / q
        with_shared = skip * (self.shared - rho * self.cross) / q
        itself = self.cosine(size)
        pair = skip + gain.pair / q
        return Fluctuation(
            kept.square + 2 * gain.square * with_square + gain.square**2 * itself,
            kept.cross + gain.square * with_shared + gain.shared * with_square
            + gain.square * gain.shared * itself,
            kept.shared + 2 * gain.shared * with_shared + gain.shared**2 * itself,
            kept.own, skip * (pair * self.own_cross - gain.pair / q * rho * self.own / 2),
            self.apart * pair**2,
        )  # fmt: skip

    def product(self, one: Lever, other: Lever) -> float:
        """Covariance of what two levers do to ln of a gradient."""
        crossed = one.square * other.shared + one.shared * other.square
        return (
            one.square * other.square * self.square + crossed * self.cross
            + one.shared * other.shared * self.shared + one.own * other.own * self.own
        )  # fmt: skip

    def cosine(self, size: Size) -> float:
        """Variance of the mean cosine of two tokens."""
        rho = size.cosine
        moved = self.shared - 2 * rho * self.cross + rho**2 * self.square
        return max(moved, 0.0) / size.square**2 if size.square > 0 else 0.0

    def alike(self, size: Size) -> tuple[float, float]:
        """Return relative variances of what tells tokens apart: of a pair, and of all together."""
        between = size.square - size.shared
        if between <= 1e-9 * size.square:
            return 0.0, 0.0
        return self.apart / between**2, self.cosine(size) * (size.square / between) ** 2

    def relative(self, size: Size) -> float:
        """Relative variance of one token's square."""
        return (self.square + self.own) / size.square**2 if size.square > 0 else 0.0

    def bias(self, size: Size) -> float:
        """Return by how much the mean of two tokens' cosine exceeds the cosine of the means."""
        if size.square <= 0:
            return 0.0
        along = size.cosine * (self.square + 0.75 * self.own)
        return (along - self.cross - self.own_cross) / size.square**2

    def normed(self, size: Size, factor: float) -> Fluctuation:
        """Return that behind a norm, which leaves no square to fluctuate."""
        shared = self.cosine(size) * size.square**2
        return Fluctuation(0.0, 0.0, shared, 0.0, 0.0, self.apart).scaled(factor)


NONE = Fluctuation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def wishart(size: Size, variance: float) -> Fluctuation:
    """Return that of a sum over independent features; ``variance`` is a square's relative one.

    For normal features it is 2 over their number: Cov(K_ts, K_uv) = (K_tu K_sv + K_tv K_su)/width.
    """
    a, c = size
    return Fluctuation(c * c, c * c, c * c, a * a - c * c, (a - c) * c, (a - c) ** 2 / 2).scaled(
        variance**0.5
    )
