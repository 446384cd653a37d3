"""The two engines behind the augmentation seam: batched torch operations, and Albumentations for all the rest."""
