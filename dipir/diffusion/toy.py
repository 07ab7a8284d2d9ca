"""The oracle prior: the exact posterior-mean denoiser of a Gaussian, against which guidance is checked."""
from __future__ import annotations

import torch
from torch import Generator, Tensor

from dipir.diffusion.denoiser import AbstractDenoiser, Condition, per_image
from dipir.errors import PriorError


class GaussianDenoiser(AbstractDenoiser):
    """x0 ~ N(mean, covariance)  =>  E[x0 | x] = mean + C (C + sigma^2 I)^-1 (x - mean).

    mean : (C, h, w) in the space of :meth:`encode` ([-1, 1] for images). ``condition.planes`` (B, C, h, w), when given,
        takes its place, so that the toy has conditions too
    std : standard deviation, a number or a tensor that broadcasts to ``mean``; or instead
    covariance : (D, D) symmetric positive semi-definite over the flattened image, D = C h w
    """

    sigma_min, sigma_max = 0.002, 160.0

    def __init__(self, mean: Tensor, std: float | Tensor = 1.0, covariance: Tensor | None = None) -> None:
        self.mean = mean
        if covariance is None:
            variance = torch.as_tensor(std, dtype=mean.dtype, device=mean.device).expand_as(mean).reshape(-1) ** 2
            self.variances, self.axes = variance, None
        else:
            if covariance.shape != (mean.numel(), mean.numel()) or not torch.allclose(covariance, covariance.T):
                raise PriorError(f"covariance of shape {tuple(covariance.shape)}: needs a symmetric matrix of "
                                 f"{mean.numel()} rows for a mean of shape {tuple(mean.shape)}.")
            self.variances, self.axes = torch.linalg.eigh(covariance.to(mean.dtype))
            # Eigenvalues of a semi-definite matrix may come out as -1e-8; anything lower is a wrong matrix.
            if float(self.variances.min()) < -1e-5 * float(self.variances.max().clamp_min(1e-12)):
                raise PriorError(f"covariance has eigenvalue {float(self.variances.min()):.3g}; none may be negative.")
            self.variances = self.variances.clamp_min(0)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        mean = self.mean.to(x) if condition.planes is None else condition.planes.to(x)
        off = self._turn((x - mean).flatten(1), forward=True)
        variances = self.variances.to(x)
        shrunk = off * variances / (variances + per_image(sigma, off) ** 2)
        return mean + self._turn(shrunk, forward=False).reshape(x.shape)

    def draw(self, n: int, generator: Generator | None = None) -> Tensor:
        """(n, C, h, w) exact samples of the prior, in the type of ``mean``."""
        noise = torch.randn(n, self.mean.numel(), generator=generator, dtype=torch.float64, device="cpu").to(self.mean)
        return self.mean + self._turn(noise * self.variances.sqrt(), forward=False).reshape(n, *self.mean.shape)

    def encode(self, image_disp: Tensor) -> Tensor:
        return 2 * image_disp - 1

    def decode(self, latent: Tensor) -> Tensor:
        return ((latent + 1) / 2).clamp(0, 1)

    def _turn(self, rows: Tensor, forward: bool) -> Tensor:
        """Rows into the eigenbasis of the covariance (forward) or back."""
        if self.axes is None:
            return rows
        return rows @ (self.axes if forward else self.axes.T).to(rows)
