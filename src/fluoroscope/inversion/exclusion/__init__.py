"""Out-of-distribution detection by training, inverting and excluding (Suhail and Sethi 2025).

A class more than there are, for what is none of them: its loop is in :mod:`.exclude`, what it
learns from in :mod:`.garbage`, the command's whole job in :mod:`.run`, the numbers in
:mod:`.detection` and :mod:`.uncertainty`.
"""
