"""Estimators for scikit-learn: rows in, codes or scores out."""

from latlas.sklearn.autoencoders import VAE, Autoencoder
from latlas.sklearn.outliers import VAEOutlierDetector

__all__ = ["VAE", "Autoencoder", "VAEOutlierDetector"]
