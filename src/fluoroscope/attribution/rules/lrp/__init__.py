"""Layer-wise relevance propagation: what each pixel adds to a logit, handed back layer by layer.

Bach et al. 2015 (10.1371/journal.pone.0130140); Montavon et al. 2017 (1512.02479) and 2019 (z-plus,
gamma, box); Achtibat et al. 2024 (2402.05602) for transformers. Relevance is kept in its gradient
form, ``R = value * modified gradient``, so that sums, averages, concatenations and skip connections
need no rule: each part of a sum gets its share by itself.

Its authors state that LRP is patented, and free of charge for personal and scientific use only.
"""
