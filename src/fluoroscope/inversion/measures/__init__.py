"""What pictures of classes are worth: each measure with its reference values beside it.

`assess.py` is the door. `reading.py` asks the networks; `of_answers.py`, `variety.py`, `of_sets.py`
and `of_class.py` take the measures, by the formulas in `distributions.py`, `pictures.py`,
`nearest.py`, `choice.py` and `layer_path.py`; `flags.py` has every threshold.
"""
