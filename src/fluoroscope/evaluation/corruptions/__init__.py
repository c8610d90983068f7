"""Common corruptions: how a network classifies noisy, blurred, snowed-on and compressed pictures.

Hendrycks and Dietterich (2019, 1903.12261): fifteen corruptions at five severities each. Nobody
searches for these changes, so they are no attack: a measure beside one. ``noise.py``, ``blur.py``,
``weather.py`` and ``digital.py`` have what each does, ``catalogue.py`` the numbers behind the
severities, ``table.py`` the accuracy under them, ``mce.py`` the mean corruption error.

The numbers are those of the authors' code: unless asked otherwise CIFAR-10-C's for pictures with a
side below 64, and ImageNet-C's, which were chosen for 224×224, for others.

What differs from the published pictures:

- A picture is corrupted as the network sees it, resized and cropped. It is rounded to 8 bits where
  the authors cut, and ImageNet-C's are saved as JPEG (quality 85) once more.
- **Frost** lays photographs of frost over a picture. Nobody says whose the authors' are, so none
  come with this package: it draws a texture of its own, which is *not* theirs, unless it is given
  the folder of theirs.
- Numbers that are made for a square hold for each side of a rectangle. Those of the elastic
  transform are multiples of the side, as in CIFAR-10-C's code; all others are pixels.
- On grey pictures the same is done to the one channel that there is, which nobody published. Of
  other numbers of channels each has the same blur, weather or warp, and noise of its own; JPEG is
  for grey and colour alone.

**Randomness.** What a picture draws depends on the seed and its number in its data set, not on its
neighbours; it is the same at every severity. All is worked out in float64, so that the 8-bit levels
that come out do not depend on the size of the batch.
"""
